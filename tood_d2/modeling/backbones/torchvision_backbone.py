"""Classifiers of torchvision as backbones."""

import difflib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN

from .classifier import STRIDES, ClassifierBackbone, needed_features, read_config
from .fpn import build_fpn_from_config


class TorchvisionBackbone(ClassifierBackbone):
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
            in_channels, out_features, norm, freeze_at, out_norm: see :class:`ClassifierBackbone`;
                "SyncBN" computes batch norms over all GPUs.
            settings: arguments of the model's constructor, such as ``width_mult=0.5`` (MobileNet)
                or ``stochastic_depth_prob=0.1`` (ConvNeXt, EfficientNet).

        Raises:
            ValueError: if torchvision has no such model, it takes no such settings, or it is a
                ResNet (see :func:`build_resnet`); and see :class:`ClassifierBackbone`.
        """
        title = f"{name} of torchvision"
        network = _build(name, settings)
        own = set(network.state_dict())
        _replace_stem(network, in_channels)
        layers = _last_layers(network, in_channels, title)
        available = [x for x, stride in STRIDES.items() if stride in layers]
        names = needed_features(available, out_features, freeze_at, title)
        body = create_feature_extractor(
            network, {layers[STRIDES[x]]: x for x in names}, suppress_diff_warning=True
        )
        super().__init__(
            nn.SyncBatchNorm.convert_sync_batchnorm(body) if norm == "SyncBN" else body,
            names,
            model=title,
            in_channels=in_channels,
            out_features=out_features,
            norm=norm,
            freeze_at=freeze_at,
            out_norm=out_norm,
        )
        self._left_out = {f"body.{x}" for x in own - self.body.state_dict().keys()}
        self.register_load_state_dict_pre_hook(_skip_left_out)


@BACKBONE_REGISTRY.register()
def build_tood_torchvision_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """:class:`TorchvisionBackbone` and :func:`.build_fpn` from a CfgNode."""
    return build_fpn_from_config(cfg, TorchvisionBackbone(**read_config(cfg, input_shape)))


def _skip_left_out(module: TorchvisionBackbone, state_dict: dict, prefix: str, *_) -> None:
    for name in module._left_out:
        state_dict.pop(prefix + name, None)


def _build(name: str, settings: dict[str, Any]) -> nn.Module:
    names = models.list_models(module=models)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3) or names
        raise ValueError(f"torchvision has no classifier {name!r}, but {', '.join(close)}")
    if "resne" in name:
        raise ValueError(f"{name}: build_resnet makes ResNets, and torchvision://{name} fits them")
    try:
        return models.get_model(name, weights=None, **settings)
    except TypeError as error:
        raise ValueError(f"{name} of torchvision: {error}") from error


def _replace_stem(network: nn.Module, in_channels: int) -> None:
    """Gives the first convolution another number of input channels."""
    path, old = next((k, x) for k, x in network.named_modules() if isinstance(x, nn.Conv2d))
    if old.in_channels != in_channels:
        has_bias = old.bias is not None
        stem = nn.Conv2d(
            in_channels, old.out_channels, old.kernel_size, old.stride, old.padding, bias=has_bias
        )
        parent, _, own = path.rpartition(".")
        setattr(network.get_submodule(parent), own, stem)


def _last_layers(network: nn.Module, in_channels: int, title: str) -> dict[int, str]:
    """The last layer of each stride that gives a map (N, C, H, W).

    A layer is a child of the network. A sequence that lowers the resolution more than once, such as
    ``features``, is not one: its items are.
    """
    sizes = _map_sizes(network, in_channels, title)

    def is_network(path):
        before, after = sizes.get(path, (0, 0))
        return isinstance(network.get_submodule(path), nn.Sequential) and before > 2 * after

    layers = []
    for path, (_, after) in sizes.items():
        parent = path.rpartition(".")[0]
        if (not parent or is_network(parent)) and not is_network(path) and _SIZE % after == 0:
            layers.append((path, _SIZE // after))
    return {stride: path for path, stride in _without_last_conv(network, layers)}


_SIZE = 64
"""Side in pixels of the image that strides are measured with."""


@torch.no_grad()
def _map_sizes(network: nn.Module, in_channels: int, title: str) -> dict[str, tuple[int, int]]:
    """Sides of the maps before and after each module, in the order in which the modules end."""
    sizes = {}

    def note(path):
        def hook(module, inputs, output):
            maps = [x for x in (inputs[0], output) if isinstance(x, Tensor) and x.dim() == 4]
            if len(maps) == 2 and maps[1].shape[2] == maps[1].shape[3] > 1:
                sizes[path] = maps[0].shape[2], maps[1].shape[2]

        return hook

    handles = [x.register_forward_hook(note(path)) for path, x in network.named_modules() if path]
    device = next(network.parameters()).device
    try:
        network.eval()(torch.zeros(1, in_channels, _SIZE, _SIZE, device=device))
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f"{title} does not take images of any size: {error}") from error
    finally:
        network.train()
        for handle in handles:
            handle.remove()
    return sizes


def _without_last_conv(network: nn.Module, layers: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Leaves out a 1x1 convolution at the end, with its norm and activation."""
    convs = [
        [x for x in network.get_submodule(path).modules() if isinstance(x, nn.Conv2d)]
        for path, _ in layers
    ]
    end = max((i for i, x in enumerate(convs) if x), default=0)
    is_last_conv = convs and len(convs[end]) == 1 and convs[end][0].kernel_size == (1, 1)
    return layers[:end] if is_last_conv else layers
