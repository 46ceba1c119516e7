"""The task-aligned head, T-head (Sec. 3.1 of the paper).

N images, L levels of Hi x Wi locations with one anchor each, K classes, C channels,
``num_convs`` interactive layers.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectron2.config import configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import build_anchor_generator
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.structures import Boxes

from ..box_alignment import align_boxes, decode_deltas, decode_distances
from ..deform_conv import ModulatedDeformConv2d
from ..losses import aligned_logits

ANCHOR_TYPES = ("anchor_free", "anchor_based")


class TaskDecomposition(nn.Module):
    """Task-specific features from the interactive ones by layer attention (Eq. 2 and 3)."""

    def __init__(self, num_convs: int, channels: int, norm: str):
        """
        Args:
            num_convs: number of interactive layers.
            channels: C of each of them.
            norm: normalisation after the reduction, see ``detectron2.layers.get_norm``.
        """
        super().__init__()
        inter_channels = num_convs * channels
        self.layer_attention = nn.Sequential(
            nn.Conv2d(inter_channels, channels // 8, 1),
            nn.ReLU(),
            nn.Conv2d(channels // 8, num_convs, 1),
            nn.Sigmoid(),
        )
        self.reduction = Conv2d(
            inter_channels, channels, 1, bias=False, norm=get_norm(norm, channels)
        )

    def forward(self, inter_features: Tensor, pooled: Tensor) -> Tensor:
        """
        Args:
            inter_features: (N, num_convs * C, H, W).
            pooled: (N, num_convs * C, 1, 1), their average over the map.

        Returns:
            (N, C, H, W).
        """
        weights = self.layer_attention(pooled)  # (N, num_convs, 1, 1)
        num_images, num_convs = weights.shape[:2]
        # A layer's weight is constant over the map, so it goes into the 1x1 kernel.
        kernel = self.reduction.weight.view(1, self.reduction.out_channels, num_convs, -1)
        kernel = (kernel * weights.view(num_images, 1, num_convs, 1)).flatten(2)
        features = torch.bmm(kernel, inter_features.flatten(2))
        features = features.unflatten(2, inter_features.shape[2:])
        if self.reduction.norm is not None:
            features = self.reduction.norm(features)
        return F.relu(features)


class TaskAlignedHead(nn.Module):
    """Classification and box regression from common features, aligned with each other."""

    @configurable
    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        anchor_generator: DefaultAnchorGenerator,
        anchor_type: str = "anchor_free",
        conv_dim: int = 256,
        num_convs: int = 6,
        num_deform_convs: int = 0,
        norm: str = "GN",
        prior_prob: float = 0.01,
    ):
        """
        Args:
            in_channels: of every feature map.
            num_classes: K.
            anchor_generator: of one anchor per location and L levels.
            anchor_type: "anchor_free" (distances to the sides) or "anchor_based" (deltas).
            conv_dim: C.
            num_convs: number of interactive layers.
            num_deform_convs: how many of them, the first ones, are DCNv2 with 4 groups.
            norm: see ``detectron2.layers.get_norm``.
            prior_prob: initial value of the class probability and of its alignment.

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

        self.inter_convs = nn.ModuleList()
        for i in range(num_convs):
            deform = i < num_deform_convs
            conv = ModulatedDeformConv2d if deform else Conv2d
            self.inter_convs.append(
                conv(
                    in_channels if i == 0 else conv_dim,
                    conv_dim,
                    3,
                    padding=1,
                    bias=False,
                    norm=get_norm(norm, conv_dim),
                    activation=F.relu,
                    **({"deform_groups": 4} if deform else {}),
                )
            )
        inter_channels = num_convs * conv_dim
        self.cls_decomposition = TaskDecomposition(num_convs, conv_dim, norm)
        self.box_decomposition = TaskDecomposition(num_convs, conv_dim, norm)
        self.cls_logits = nn.Conv2d(conv_dim, num_classes, 3, padding=1)
        self.box_reg = nn.Conv2d(conv_dim, 4, 3, padding=1)
        self.cls_alignment = nn.Sequential(
            nn.Conv2d(inter_channels, conv_dim // 4, 1),
            nn.ReLU(),
            nn.Conv2d(conv_dim // 4, 1, 3, padding=1),
        )
        self.box_alignment = nn.Sequential(
            nn.Conv2d(inter_channels, conv_dim // 4, 1),
            nn.ReLU(),
            nn.Conv2d(conv_dim // 4, 4 * 2, 3, padding=1),
        )
        self.scales = nn.ParameterList(
            nn.Parameter(torch.ones(())) for _ in anchor_generator.strides
        )
        self._init_weights(prior_prob)

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
            "num_deform_convs": node.NUM_DEFORM_CONVS,
            "norm": node.NORM,
            "prior_prob": node.PRIOR_PROB,
        }

    def _init_weights(self, prior_prob: float) -> None:
        # Standard deviations of the official code; offsets stay at their zero.
        small = {
            *self.cls_decomposition.layer_attention.modules(),
            *self.box_decomposition.layer_attention.modules(),
            *self.box_alignment.modules(),
        }
        offsets = {getattr(conv, "conv_offset", None) for conv in self.inter_convs}
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module not in offsets:
                nn.init.normal_(module.weight, std=0.001 if module in small else 0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        prior_logit = math.log(prior_prob / (1 - prior_prob))
        nn.init.constant_(self.cls_logits.bias, prior_logit)
        nn.init.constant_(self.cls_alignment[-1].bias, prior_logit)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """
        Args:
            features: L maps (N, channels, Hi, Wi).

        Returns:
            pred_logits: L maps (N, K, Hi, Wi), float32; sigmoid gives the aligned scores.
            pred_boxes: L maps (N, 4, Hi, Wi), float32; aligned XYXY boxes in pixels.
        """
        pred_logits, pred_boxes = [], []
        for level, (feature, anchors) in enumerate(
            zip(features, self.anchor_generator(features), strict=True)
        ):
            inter_features = self.interactive_features(feature)
            pooled = inter_features.mean(dim=(2, 3), keepdim=True)
            pred_logits.append(self.predict_logits(inter_features, pooled))
            boxes, offsets = self.predict_boxes(inter_features, pooled, anchors, level)
            pred_boxes.append(align_boxes(boxes, offsets))
        return pred_logits, pred_boxes

    def interactive_features(self, feature: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, num_convs * C, H, W), the outputs of all layers (Eq. 1)."""
        outputs = []
        for conv in self.inter_convs:
            feature = conv(feature)
            outputs.append(feature)
        return torch.cat(outputs, dim=1)

    def predict_logits(self, inter_features: Tensor, pooled: Tensor) -> Tensor:
        """Aligned class logits (N, K, H, W), see :func:`aligned_logits`."""
        cls_logits = self.cls_logits(self.cls_decomposition(inter_features, pooled))
        return aligned_logits(cls_logits, self.cls_alignment(inter_features))

    def predict_boxes(
        self, inter_features: Tensor, pooled: Tensor, anchors: Boxes, level: int
    ) -> tuple[Tensor, Tensor]:
        """Boxes before alignment (N, 4, H, W) in pixels and offsets (N, 8, H, W) in cells."""
        reg = self.box_reg(self.box_decomposition(inter_features, pooled))
        if self.anchor_type == "anchor_free":
            stride = self.anchor_generator.strides[level]
            boxes = decode_distances(reg, self.scales[level], anchors, stride)
        else:
            boxes = decode_deltas(reg, self.scales[level], anchors)
        return boxes, self.box_alignment(inter_features)
