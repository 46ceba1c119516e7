"""What the backbones from libraries of image classifiers share."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec, get_norm
from detectron2.modeling import Backbone

STRIDES = {"stem": 2, "res2": 4, "res3": 8, "res4": 16, "res5": 32}
"""Of the features, by the names that Detectron2 gives them in a ResNet."""

NORMS = ("BN", "FrozenStatsBN", "FrozenBN", "SyncBN")


def read_config(cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
    """Arguments of :class:`.TorchvisionBackbone` and :class:`.TimmBackbone` from a CfgNode."""
    node = cfg.MODEL.TOOD.CLASSIFIER
    return dict(node.SETTINGS) | {
        "name": node.NAME,
        "in_channels": input_shape.channels,
        "out_features": node.OUT_FEATURES,
        "norm": node.NORM,
        "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
        "out_norm": node.OUT_NORM,
    }


def needed_features(
    available: Sequence[str], out_features: Sequence[str], freeze_at: int, model: str
) -> list[str]:
    """Names of the features that a body has to give: those to return, and the last fixed one.

    Args:
        available: names of those that there are, from fine to coarse.
        out_features, freeze_at: see :class:`ClassifierBackbone`.
        model: its name, for the message.

    Raises:
        ValueError: if one of ``out_features`` is not there.
    """
    if missing := [name for name in out_features if name not in available]:
        raise ValueError(
            f"{model} has no feature {', '.join(missing)}, only {', '.join(available) or 'none'} "
            "(strides 4 to 32 are res2 to res5): out_features of the backbone"
        )
    fixed = [name for name in available if STRIDES[name] <= 2**freeze_at]
    return [x for x in available if x in out_features or x in fixed[-1:]]


class ClassifierBackbone(Backbone):
    """The body of a classifier that gives a feature of each stride.

    Batch norms with fixed statistics are kept in evaluation mode. Parameters that the returned
    features do not depend on are fixed, as DistributedDataParallel asks for.

    Attributes:
        in_channels: of the image.
    """

    def __init__(
        self,
        body: nn.Module,
        names: Sequence[str],
        *,
        model: str,
        in_channels: int,
        out_features: Sequence[str],
        norm: str,
        freeze_at: int,
        out_norm: str,
        channels_last: bool = False,
    ):
        """
        Args:
            body: gives a feature for each of ``names``, as a list or as the values of a dictionary.
            names: see :func:`needed_features`.
            model: its name, for messages.
            in_channels: of the image.
            out_features: names of the features to return, of :data:`STRIDES`.
            norm: "BN" trains batch norms, "FrozenStatsBN" their affine part alone, "FrozenBN"
                neither; "SyncBN" is for a body that has such.
            freeze_at: what a feature of a stride up to ``2**freeze_at`` is computed from is fixed;
                0 for nothing.
            out_norm: name of a norm of each feature for ``detectron2.layers.get_norm``, such as
                "LN" for models whose blocks end without one; "" for none.
            channels_last: whether the features are (N, H, W, C).

        Raises:
            ValueError: if there is no such norm or nothing for it to change, or if the body does
                not give features of these strides for images of any size.
        """
        super().__init__()
        self.in_channels = in_channels
        self.body, self._names, self._channels_last = body, list(names), channels_last
        batch_norms = [x for x in body.modules() if isinstance(x, _BatchNorm)]
        if norm not in NORMS:
            raise ValueError(f"norm of the backbone should be {' or '.join(NORMS)}, not {norm!r}")
        if norm != "BN" and not batch_norms:
            raise ValueError(f"{model} has no batch norm: norm of the backbone should be 'BN'")
        if norm == "FrozenBN":
            for module in batch_norms:
                module.requires_grad_(False)

        features = self._try(model)
        used = _inputs_of([features[x] for x in out_features], body)
        fixed = [x for x in features if STRIDES[x] <= 2**freeze_at]
        frozen = _inputs_of([features[x] for x in fixed], body)
        for parameter in body.parameters():
            if parameter in frozen or parameter not in used:
                parameter.requires_grad_(False)
        self._fixed_norms = [
            x
            for x in batch_norms
            if norm in ("FrozenStatsBN", "FrozenBN") or (x.affine and not x.weight.requires_grad)
        ]
        self._shapes = {
            x: ShapeSpec(channels=features[x].shape[1], stride=STRIDES[x]) for x in out_features
        }
        self.out_norms = nn.ModuleDict(
            {x: get_norm(out_norm, shape.channels) for x, shape in self._shapes.items()}
            if out_norm
            else {}
        )
        self.train()

    def _try(self, model: str, size: tuple[int, int] = (64, 96)) -> dict[str, Tensor]:
        """Features of an image of a size in pixels that classifiers are not trained at."""
        device = next(self.body.parameters()).device
        self.body.eval()
        try:
            with torch.enable_grad():
                features = self._extract(torch.zeros(1, self.in_channels, *size, device=device))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"{model} does not take images of any size, such as {size[0]} x {size[1]}: {error}"
            ) from error
        for name, x in features.items():
            if tuple(x.shape[2:]) != tuple(side // STRIDES[name] for side in size):
                raise ValueError(
                    f"{model} gives {name} in the shape {tuple(x.shape)} for an image of "
                    f"{size[0]} x {size[1]}, which is no map of stride {STRIDES[name]}"
                )
        return features

    def _extract(self, x: Tensor) -> dict[str, Tensor]:
        features = self.body(x)
        features = list(features.values()) if isinstance(features, dict) else features
        if self._channels_last:
            features = [x.permute(0, 3, 1, 2) for x in features]
        return dict(zip(self._names, features, strict=True))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Features (N, C, H / stride, W / stride) by name, of an image batch (N, C, H, W)."""
        features = self._extract(x)
        features = {name: features[name] for name in self._shapes}
        for name, norm in self.out_norms.items():
            features[name] = norm(features[name])
        return features

    def output_shape(self) -> dict[str, ShapeSpec]:
        return dict(self._shapes)

    def train(self, mode: bool = True) -> "ClassifierBackbone":
        super().train(mode)
        for norm in self._fixed_norms:
            norm.eval()
        return self


def _inputs_of(features: Sequence[Tensor], module: nn.Module) -> set[nn.Parameter]:
    """The parameters of a module that features were computed from, those that can be trained."""
    if not features:
        return set()
    parameters = [x for x in module.parameters() if x.requires_grad]
    with torch.enable_grad():
        total = sum(x.sum() for x in features)
    gradients = torch.autograd.grad(total, parameters, allow_unused=True, retain_graph=True)
    return {x for x, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
