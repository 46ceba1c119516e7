"""FPN with levels on top by strided convolutions, as the official models have it."""

import math
from itertools import pairwise

from fvcore.nn import weight_init
from torch import Tensor, nn

from detectron2.config import CfgNode
from detectron2.modeling import Backbone
from detectron2.modeling.backbone import FPN


class TopLevels(nn.Module):
    """Levels of an FPN above its last one, by strided convolutions with no ReLU between."""

    def __init__(
        self, in_channels: int, out_channels: int, in_feature: str = "p5", num_levels: int = 2
    ):
        """
        Args:
            in_channels: of the feature.
            out_channels: of every level.
            in_feature: name of the FPN's last level.
            num_levels: number of levels; above "p5" they are "p6", "p7" and so on.
        """
        super().__init__()
        self.in_feature, self.num_levels = in_feature, num_levels
        first = int(in_feature[1:]) + 1
        self.names = [f"p{first + i}" for i in range(num_levels)]
        for name in self.names:
            self.add_module(name, nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1))
            in_channels = out_channels
        for conv in self.children():
            weight_init.c2_xavier_fill(conv)

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = []
        for conv in self.children():
            x = conv(x)
            levels.append(x)
        return levels


def build_fpn(
    bottom_up: Backbone, out_channels: int = 256, norm: str = "", num_top_levels: int = 2
) -> FPN:
    """An FPN on all output features of a backbone, and levels on top of it.

    A level of stride ``2**i`` is called "p{i}": on features of strides 8 to 32 these are P3 to P5,
    and with two levels on top P6 and P7.

    Args:
        bottom_up: backbone with features (N, C, H / stride, W / stride) whose strides double.
        out_channels: of every level.
        norm: of the FPN's convolutions, see ``detectron2.layers.get_norm``.
        num_top_levels: number of levels on top of those with a feature of the backbone.

    Raises:
        ValueError: if the strides do not double from feature to feature.
    """
    shapes = bottom_up.output_shape()
    names = sorted(shapes, key=lambda name: shapes[name].stride)
    strides = [shapes[name].stride for name in names]
    if any(coarse != 2 * fine for fine, coarse in pairwise(strides)):
        raise ValueError(
            f"an FPN takes features whose strides double, not {', '.join(names)} of the strides "
            f"{', '.join(map(str, strides))}: set out_features of the backbone"
        )
    top_block = None
    if num_top_levels > 0:
        last = f"p{int(math.log2(strides[-1]))}"
        top_block = TopLevels(out_channels, out_channels, last, num_top_levels)
    return FPN(
        bottom_up=bottom_up,
        in_features=names,
        out_channels=out_channels,
        norm=norm,
        top_block=top_block,
    )


def build_fpn_from_config(cfg: CfgNode, bottom_up: Backbone) -> FPN:
    """:func:`build_fpn` with the levels that ``MODEL.TOOD.IN_FEATURES`` names."""
    finest_top_stride = 2 * max(shape.stride for shape in bottom_up.output_shape().values())
    strides = [2 ** int(name[1:]) for name in cfg.MODEL.TOOD.IN_FEATURES]
    num_top_levels = sum(stride >= finest_top_stride for stride in strides)
    fpn = cfg.MODEL.FPN
    return build_fpn(bottom_up, fpn.OUT_CHANNELS, fpn.NORM, num_top_levels)
