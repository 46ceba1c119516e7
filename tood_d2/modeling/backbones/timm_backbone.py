"""Models of timm (https://github.com/huggingface/pytorch-image-models) as backbones."""

import difflib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from torch import nn

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN

from .classifier import STRIDES, ClassifierBackbone, needed_features, read_config
from .fpn import build_fpn_from_config

# Arguments by which timm would read files in ways that execute what is in them.
_OF_WEIGHTS = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path"}


class TimmBackbone(ClassifierBackbone):
    """A model of timm that gives features of several strides (``features_only=True``).

    Parameters are called as in ``timm.create_model(name, features_only=True)``, after "body.". Some
    models were trained with another mean and deviation of the pixels than ImageNet's, see
    ``timm.get_pretrained_cfg(name)``: set ``model.pixel_mean`` and ``model.pixel_std`` to 255 times
    these.
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
            name: of the model in timm, with or without the tag of its weights.
            in_channels, out_features, norm, freeze_at, out_norm: see :class:`ClassifierBackbone`;
                "SyncBN" computes batch norms over all GPUs.
            settings: arguments of ``timm.create_model``, such as ``drop_path_rate=0.1``, or
                ``strict_img_size=False`` for Swin, which lets it take images of any size.

        Raises:
            ImportError: if timm is not installed.
            ValueError: if timm has no such model, it gives no features of several strides, or takes
                no such settings; and see :class:`ClassifierBackbone`.
        """
        timm = import_timm()
        title = f"{name} of timm"
        if given := _OF_WEIGHTS & settings.keys():
            raise ValueError(
                f"{title}: {', '.join(sorted(given))} should not be set, as weights are loaded by "
                f"train.init_checkpoint=timm://{name} or MODEL.WEIGHTS (YAML)"
            )
        indices = feature_indices(name, settings)
        names = needed_features(list(indices), out_features, freeze_at, title)
        body = create_features(name, [indices[x] for x in names], in_chans=in_channels, **settings)
        super().__init__(
            timm.layers.convert_sync_batchnorm(body) if norm == "SyncBN" else body,
            names,
            model=title,
            in_channels=in_channels,
            out_features=out_features,
            norm=norm,
            freeze_at=freeze_at,
            out_norm=out_norm,
            channels_last=str(getattr(body, "output_fmt", "NCHW")).endswith("NHWC"),
        )


@BACKBONE_REGISTRY.register()
def build_tood_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """:class:`TimmBackbone` and :func:`.build_fpn` from a CfgNode."""
    return build_fpn_from_config(cfg, TimmBackbone(**read_config(cfg, input_shape)))


def import_timm() -> ModuleType:
    """The package timm.

    Raises:
        ImportError: if it is not installed, with what to do.
    """
    try:
        import timm
        import timm.layers
    except ImportError as error:
        raise ImportError("TimmBackbone takes the package timm: pip install timm") from error
    return timm


def feature_indices(name: str, settings: dict[str, Any] | None = None) -> dict[str, int]:
    """Index in timm of the last feature of each stride, by the name that it has here.

    Args:
        name: of the model in timm.
        settings: arguments of ``timm.create_model``.

    Raises:
        ValueError: see :class:`TimmBackbone`.
    """
    timm = import_timm()
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise ValueError(
            f"timm has no model {name!r}, but {', '.join(close)}"
            if close
            else f"timm has no model {name!r}: timm.list_models() names all"
        )
    info = create_features(name, None, **(settings or {})).feature_info
    by_stride = {info[i]["reduction"]: i for i in range(len(info))}
    if len(by_stride) < 2:
        raise ValueError(
            f"{name} of timm gives features of the stride {', '.join(map(str, by_stride))} alone, "
            "but an FPN takes several: SimplePyramid makes them for plain vision transformers"
        )
    return {x: by_stride[stride] for x, stride in STRIDES.items() if stride in by_stride}


def create_features(name: str, indices: Sequence[int] | None, **settings: Any) -> nn.Module:
    """A model of timm that returns a list of its features.

    Args:
        name: of the model in timm.
        indices: of the features, all by default.
        settings: arguments of ``timm.create_model``.

    Raises:
        ValueError: if the model has no features, or takes no such settings.
    """
    if indices is not None:
        settings |= {"out_indices": tuple(indices)}
    try:
        return import_timm().create_model(name, features_only=True, **settings)
    except (AttributeError, TypeError, RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"{name} of timm gives no such features: {error}") from error
