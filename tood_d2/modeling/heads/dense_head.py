"""What the heads share. N images, L levels of Hi x Wi locations with one anchor each."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from detectron2.layers import ShapeSpec
from detectron2.modeling import build_anchor_generator
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.structures import Boxes
from detectron2.utils.registry import Registry

from ..box_alignment import decode_deltas, decode_distances

ANCHOR_TYPES = ("anchor_free", "anchor_based")

HEADS = Registry("TOOD_HEADS")
HEADS.__doc__ = """
Heads that ``MODEL.TOOD.HEAD`` may name: each a :class:`DenseHead` whose constructor takes a config
and the ``ShapeSpec`` of each feature. Another project adds its own by ``@HEADS.register()``.
"""


class DenseHead(nn.Module):
    """Predicts logits and boxes at every location of every level.

    A head maps L features (N, in_channels, Hi, Wi) to per-level logits (N, K, Hi, Wi), whose
    sigmoids are the class scores, and boxes (N, 4, Hi, Wi), XYXY in pixels, both float32. It is
    called with the features alone, or with their anchors as well.
    """

    def __init__(self, anchor_generator: DefaultAnchorGenerator, anchor_type: str):
        """
        Args:
            anchor_generator: of one anchor per location and L levels.
            anchor_type: "anchor_free" (distances to the sides) or "anchor_based" (deltas).

        Raises:
            ValueError: on an unknown ``anchor_type`` or several anchors per location.
        """
        super().__init__()
        if anchor_type not in ANCHOR_TYPES:
            raise ValueError(f"anchor_type must be one of {ANCHOR_TYPES}, not {anchor_type!r}")
        if set(anchor_generator.num_anchors) != {1}:
            raise ValueError(f"one anchor per location, not {anchor_generator.num_anchors}")
        self.anchor_generator = anchor_generator
        self.anchor_type = anchor_type
        self.scales = nn.ParameterList(
            nn.Parameter(torch.ones(())) for _ in anchor_generator.strides
        )

    @classmethod
    def from_config(cls, cfg, input_shape: list[ShapeSpec]):
        node = cfg.MODEL.TOOD
        (in_channels,) = {shape.channels for shape in input_shape}
        return {
            "in_channels": in_channels,
            "anchor_generator": build_anchor_generator(cfg, input_shape),
            "num_classes": node.NUM_CLASSES,
            "anchor_type": node.ANCHOR_TYPE,
            "conv_dim": node.CONV_DIM,
            "num_convs": node.NUM_CONVS,
            "norm": node.NORM,
            "prior_prob": node.PRIOR_PROB,
        }

    def with_anchors(
        self, features: list[Tensor], anchors: list[Boxes] | None
    ) -> Iterable[tuple[Tensor, Boxes]]:
        """Each level's feature with its anchors, which are computed unless they are given."""
        if anchors is None:
            anchors = self.anchor_generator(features)
        return zip(features, anchors, strict=True)

    def decode(self, reg: Tensor, anchors: Boxes, level: int) -> Tensor:
        """Boxes (N, 4, Hi, Wi) in pixels from the regression (N, 4, Hi, Wi) of a level."""
        scale = self.scales[level]
        if self.anchor_type == "anchor_free":
            return decode_distances(reg, scale, anchors, self.anchor_generator.strides[level])
        return decode_deltas(reg, scale, anchors)


def init_conv(conv: nn.Conv2d, std: float) -> None:
    """Draws the weights from N(0, std) and zeroes the biases."""
    nn.init.normal_(conv.weight, std=std)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def prior_logit(prob: float) -> float:
    """The bias that makes a sigmoid start at ``prob``."""
    return math.log(prob / (1 - prob))
