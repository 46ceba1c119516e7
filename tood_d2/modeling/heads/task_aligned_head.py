"""The task-aligned head, T-head (Sec. 3.1 of the paper).

N images, L levels of Hi x Wi locations with one anchor each, K classes, C channels,
``num_convs`` interactive layers.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as checkpointed

from detectron2.config import configurable
from detectron2.layers import Conv2d, get_norm
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.structures import Boxes

from ..box_alignment import align_boxes
from ..deform_conv import ModulatedDeformConv2d
from ..losses import aligned_logits
from .dense_head import HEADS, DenseHead, init_conv, prior_logit
from .task_decomposition import TaskDecomposition, mix_layers, pool_layers, relu


class TaskFeatures(NamedTuple):
    """What a level's predictions are made of."""

    cls: Tensor
    """(N, C, H, W) for classification."""
    box: Tensor
    """(N, C, H, W) for localisation."""
    alignment_logits: Tensor | None
    """(N, 1, H, W) logits of the map M, if scores are aligned."""
    offsets: Tensor | None
    """(N, 8, H, W) the offsets O, if boxes are aligned; see :func:`align_boxes`."""


@HEADS.register()
class TaskAlignedHead(DenseHead):
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
        align_cls: bool = True,
        align_boxes: bool = True,
        checkpoint: bool = False,
    ):
        """
        Args:
            in_channels: of every feature map.
            num_classes: K.
            anchor_generator, anchor_type: see :class:`DenseHead`.
            conv_dim: C.
            num_convs: number of interactive layers.
            num_deform_convs: how many of them, the first ones, are DCNv2 with 4 groups.
            norm: see ``detectron2.layers.get_norm``.
            prior_prob: initial value of the class probability and of its alignment.
            align_cls: whether to align the scores with the map M (Eq. 5).
            align_boxes: whether to align the boxes with the offsets O (Eq. 6).
            checkpoint: whether to compute interactive layers and task features anew in the
                backward pass instead of keeping what it needs. Batch norm counts a batch twice.
        """
        super().__init__(anchor_generator, anchor_type)
        self.checkpoint = checkpoint

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
                    activation=relu,
                    **({"deform_groups": 4} if deform else {}),
                )
            )
        inter_channels = num_convs * conv_dim
        self.cls_decomposition = TaskDecomposition(num_convs, conv_dim, norm)
        self.box_decomposition = TaskDecomposition(num_convs, conv_dim, norm)
        self.cls_logits = nn.Conv2d(conv_dim, num_classes, 3, padding=1)
        self.box_reg = nn.Conv2d(conv_dim, 4, 3, padding=1)
        # The maps M and O, or None.
        self.cls_alignment = (
            self._alignment(inter_channels, conv_dim // 4, 1) if align_cls else None
        )
        self.box_alignment = (
            self._alignment(inter_channels, conv_dim // 4, 8) if align_boxes else None
        )
        self._init_weights(prior_prob)

    @classmethod
    def from_config(cls, cfg, input_shape):
        node = cfg.MODEL.TOOD
        return {
            **super().from_config(cfg, input_shape),
            "num_deform_convs": node.NUM_DEFORM_CONVS,
            "align_cls": node.ALIGN_CLS,
            "align_boxes": node.ALIGN_BOXES,
            "checkpoint": node.CHECKPOINT_HEAD,
        }

    @staticmethod
    def _alignment(in_channels: int, channels: int, out_channels: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(in_channels, channels, 1),
            nn.ReLU(),
            nn.Conv2d(channels, out_channels, 3, padding=1),
        )

    def _init_weights(self, prior_prob: float) -> None:
        # Standard deviations of the official code; a DCNv2's own offsets stay at their zero.
        offsets = {getattr(conv, "conv_offset", None) for conv in self.inter_convs}
        decompositions = (self.cls_decomposition, self.box_decomposition)
        small = {*(x for part in decompositions for x in part.layer_attention)}
        small |= {*(self.box_alignment or ())}
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module not in offsets:
                init_conv(module, std=0.001 if module in small else 0.01)
        nn.init.constant_(self.cls_logits.bias, prior_logit(prior_prob))
        if self.cls_alignment is not None:
            nn.init.constant_(self.cls_alignment[-1].bias, prior_logit(prior_prob))

    def forward(
        self, features: list[Tensor], anchors: list[Boxes] | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """
        Args:
            features: L maps (N, channels, Hi, Wi).
            anchors: see :meth:`DenseHead.with_anchors`.

        Returns:
            pred_logits: L maps (N, K, Hi, Wi), float32; sigmoid gives the aligned scores.
            pred_boxes: L maps (N, 4, Hi, Wi), float32; aligned XYXY boxes in pixels.
        """
        pred_logits, pred_boxes = [], []
        for level, (feature, own_anchors) in enumerate(self.with_anchors(features, anchors)):
            task_features = self.level_features(feature)
            pred_logits.append(self.predict_logits(task_features))
            pred_boxes.append(self.predict_boxes(task_features, own_anchors, level))
        return pred_logits, pred_boxes

    def level_features(self, feature: Tensor) -> TaskFeatures:
        """What a level's predictions are made of, from its map (N, channels, H, W)."""

        def compute(feature: Tensor) -> TaskFeatures:
            return self.task_features(self.interactive_features(feature))

        if self.checkpoint and torch.is_grad_enabled():
            return checkpointed(compute, feature, use_reentrant=False, preserve_rng_state=False)
        return compute(feature)

    def interactive_features(self, feature: Tensor) -> list[Tensor]:
        """(N, channels, H, W) -> ``num_convs`` maps (N, C, H, W), one of each layer (Eq. 1)."""
        layers = []
        for conv in self.inter_convs:
            feature = conv(feature)
            layers.append(feature)
        return layers

    def task_features(self, layers: list[Tensor]) -> TaskFeatures:
        """Features for both tasks from ``num_convs`` maps (N, C, H, W), in one pass over them."""
        pooled = pool_layers(layers)
        alignments = {"alignment_logits": self.cls_alignment, "offsets": self.box_alignment}
        alignments = {name: part for name, part in alignments.items() if part is not None}
        decompositions = self.cls_decomposition, self.box_decomposition
        kernels, biases = (
            [x.kernel(pooled) for x in decompositions],
            [x.bias for x in decompositions],
        )
        for conv, *_ in alignments.values():
            kernels.append(conv.weight.flatten(1).expand(pooled.shape[0], -1, -1))
            biases.append(conv.bias)
        cls_feature, box_feature, *reduced = mix_layers(
            layers, torch.cat(kernels, dim=1), torch.cat(biases), [len(x) for x in biases]
        )
        maps = dict.fromkeys(("alignment_logits", "offsets"))
        for (name, (_, *rest)), feature in zip(alignments.items(), reduced, strict=True):
            for module in rest:
                feature = module(feature)
            maps[name] = feature
        return TaskFeatures(
            cls=self.cls_decomposition.activate(cls_feature),
            box=self.box_decomposition.activate(box_feature),
            **maps,
        )

    def predict_logits(self, features: TaskFeatures) -> Tensor:
        """Aligned class logits (N, K, H, W), see :func:`aligned_logits`."""
        cls_logits = self.cls_logits(features.cls)
        if features.alignment_logits is None:
            return cls_logits.float()
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return aligned_logits(cls_logits, features.alignment_logits)
        # The same with half as many operations; infinite where the score is 0 or 1 in float32.
        # Not for exported models, as ONNX Runtime's sigmoid is never below 1e-8.
        scores = cls_logits.float().sigmoid()
        return scores.mul_(features.alignment_logits.float().sigmoid()).sqrt_().logit_()

    def predict_boxes(self, features: TaskFeatures, anchors: Boxes, level: int) -> Tensor:
        """Aligned boxes (N, 4, H, W) in pixels."""
        boxes = self.decode(self.box_reg(features.box), anchors, level)
        if features.offsets is None:
            return boxes
        return align_boxes(boxes, features.offsets)
