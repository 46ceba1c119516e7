"""Classification models of torchvision as backbones."""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor

from detectron2.layers import FrozenBatchNorm2d, ShapeSpec, get_norm
from detectron2.modeling import Backbone

from .resnet import FrozenStatsBatchNorm2d

STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}
"""Of the features, by the name that Detectron2 gives them in a ResNet."""


class TorchvisionBackbone(Backbone):
    """A convolutional network of torchvision: its last layer of each stride.

    It serves for every classifier that is a sequence of layers with maps of strides 4 to 32, such
    as MobileNet, EfficientNet, MNASNet, ShuffleNet, RegNet, ConvNeXt, DenseNet and VGG. What
    follows the last feature is left out, and so is the 1x1 convolution with which MobileNet,
    EfficientNet, MNASNet and ShuffleNet end. It widens the features for the classifier (320 to
    1280 channels in MobileNetV2); the FPN would narrow them again at once.

    Parameters are called as in torchvision, after "body.". Those of layers that are left out may be
    in a file that is loaded, and are skipped.
    """

    def __init__(
        self,
        name: str,
        *,
        in_channels: int = 3,
        out_features: Sequence[str] = ("res3", "res4", "res5"),
        norm: str = "BN",
        freeze_at: int = 0,
        out_norm: str = "",
        **settings: Any,
    ):
        """
        Args:
            name: of the model in torchvision.
            in_channels: of the image.
            out_features: names of the features to return, of :data:`STRIDES`.
            norm: in place of each batch norm: "BN" to train it, "FrozenStatsBN" to train its affine
                part alone, "FrozenBN" for neither, "SyncBN" over all GPUs, or what
                ``detectron2.layers.get_norm`` knows.
            freeze_at: layers of strides up to ``2**freeze_at`` stay as they are, 0 for none.
            out_norm: of each feature, such as "LN" for a model whose blocks end without a norm.
            settings: arguments of the model's constructor, such as ``width_mult=0.5`` (MobileNet)
                or ``stochastic_depth_prob=0.1`` (ConvNeXt, EfficientNet).

        Raises:
            ValueError: if torchvision has no such model, it takes no such settings, it is a ResNet
                (see :func:`build_resnet`), it lacks one of the features, or has no batch norm for
                ``norm`` to replace.
        """
        super().__init__()
        self.in_channels = in_channels
        model = _build(name, settings)
        names = set(model.state_dict())
        _replace_stem(model, in_channels)
        layers = _without_last_conv(model, list(_layers(model, in_channels, name)))
        last = {stride: (layer, channels) for layer, stride, channels in layers}
        for feature in out_features:
            if STRIDES.get(feature) not in last:
                known = [x for x, stride in STRIDES.items() if stride in last]
                raise ValueError(
                    f"{name} of torchvision has no feature {feature!r}, only "
                    f"{', '.join(known) or 'none'}: out_features of the backbone"
                )
        self._shapes = {
            x: ShapeSpec(channels=last[STRIDES[x]][1], stride=STRIDES[x]) for x in out_features
        }
        self.body = create_feature_extractor(
            model, {last[shape.stride][0]: x for x, shape in self._shapes.items()}
        )
        if norm != "BN" and not replace_batch_norms(self.body, norm):
            raise ValueError(f"{name} has no batch norm that norm={norm!r} could replace")
        for layer, stride, _ in layers:
            if freeze_at > 0 and stride <= 2**freeze_at:
                freeze(self.body, layer)
        self.out_norms = nn.ModuleDict(
            {x: get_norm(out_norm, shape.channels) for x, shape in self._shapes.items()}
            if out_norm
            else {}
        )
        self._left_out = {f"body.{x}" for x in names - self.body.state_dict().keys()}
        self.register_load_state_dict_pre_hook(_skip_left_out)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Features (N, C, H / stride, W / stride) by name, of an image batch (N, C, H, W)."""
        features = self.body(x)
        for name, norm in self.out_norms.items():
            features[name] = norm(features[name])
        return features

    def output_shape(self) -> dict[str, ShapeSpec]:
        return dict(self._shapes)


def _skip_left_out(module: TorchvisionBackbone, state_dict: dict, prefix: str, *_) -> None:
    for name in module._left_out:
        state_dict.pop(prefix + name, None)


def replace_batch_norms(module: nn.Module, norm: str) -> bool:
    """Puts another norm in the place of each batch norm; its weights are new.

    Args:
        module: whose parts are replaced.
        norm: see :class:`TorchvisionBackbone`.

    Returns:
        Whether there was any.
    """
    make = FrozenStatsBatchNorm2d if norm == "FrozenStatsBN" else norm
    found = [(name, x) for name, x in module.named_modules() if isinstance(x, nn.BatchNorm2d)]
    for name, old in found:
        new = get_norm(make, old.num_features)
        for setting in ("eps", "momentum"):
            if hasattr(new, setting):
                setattr(new, setting, getattr(old, setting))
        _set_submodule(module, name, new)
    return bool(found)


def freeze(module: nn.Module, name: str) -> None:
    """Fixes the parameters and batch norms of a part of a module, if it has this part."""
    try:
        part = module.get_submodule(name)
    except AttributeError:  # an operation without parameters, or behind the last feature
        return
    part.requires_grad_(False)
    _set_submodule(module, name, FrozenBatchNorm2d.convert_frozen_batchnorm(part))


def _set_submodule(module: nn.Module, name: str, new: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(module.get_submodule(parent), own, new)


def _build(name: str, settings: dict[str, Any]) -> nn.Module:
    names = models.list_models(module=models)
    if name not in names:
        close = (
            ", ".join(difflib.get_close_matches(name, names, n=3)) or "one of torchvision.models"
        )
        raise ValueError(f"torchvision has no classifier {name!r}; take {close}")
    if "resne" in name:
        raise ValueError(f"{name}: build_resnet makes ResNets, and torchvision://{name} fits them")
    try:
        return models.get_model(name, weights=None, **settings)
    except TypeError as error:
        raise ValueError(f"{name} of torchvision: {error}") from error


def _replace_stem(model: nn.Module, in_channels: int) -> None:
    """Gives the first convolution another number of input channels."""
    name, old = next((k, x) for k, x in model.named_modules() if isinstance(x, nn.Conv2d))
    if old.in_channels != in_channels:
        new = nn.Conv2d(
            in_channels,
            old.out_channels,
            old.kernel_size,
            old.stride,
            old.padding,
            bias=old.bias is not None,
        )
        _set_submodule(model, name, new)


@torch.no_grad()
def _layers(model: nn.Module, in_channels: int, name: str) -> Iterator[tuple[str, int, int]]:
    """Name, stride and channels of each layer that gives a map (1, C, H, W), in order.

    A layer is a child of the model. A sequence that lowers the resolution more than once, such as
    ``features``, is not one: its items are.
    """
    size = 64
    shapes: dict[str, tuple[int, ...]] = {}  # in the order in which the modules end

    def note(path):
        def hook(module, inputs, output):
            if isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
                shapes[path] = tuple(inputs[0].shape[2:]), tuple(output.shape)

        return hook

    handles = [x.register_forward_hook(note(path)) for path, x in model.named_modules() if path]
    training = model.training
    try:
        device = next(model.parameters()).device
        model.eval()(torch.zeros(1, in_channels, size, size, device=device))
    except (AssertionError, RuntimeError) as error:
        raise ValueError(
            f"{name} of torchvision takes images of one size only, no {size}x{size}"
        ) from error
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()

    def lowers_twice(path):
        before, after = shapes[path]
        is_sequence = isinstance(model.get_submodule(path), nn.Sequential)
        return is_sequence and len(after) == 4 and before[0] > 2 * after[2]

    for path, (_, shape) in shapes.items():
        parent = path.rpartition(".")[0]
        is_layer = not parent or (parent in shapes and lowers_twice(parent))
        is_map = len(shape) == 4 and shape[2] == shape[3] > 1 and size % shape[2] == 0
        if is_layer and is_map and not lowers_twice(path):
            yield path, size // shape[2], shape[1]


def _without_last_conv(model: nn.Module, layers: list[tuple]) -> list[tuple]:
    """Leaves out a 1x1 convolution at the end, with its norm and activation."""
    convs = [
        [x for x in model.get_submodule(path).modules() if isinstance(x, nn.Conv2d)]
        for path, *_ in layers
    ]
    end = max((i for i, x in enumerate(convs) if x), default=0)
    is_last_conv = convs and len(convs[end]) == 1 and convs[end][0].kernel_size == (1, 1)
    return layers[:end] if is_last_conv else layers
