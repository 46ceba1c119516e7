"""The parallel head that T-head is compared with: two branches without interaction.

N images, L levels of Hi x Wi locations with one anchor each, K classes.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from detectron2.config import configurable
from detectron2.layers import Conv2d, get_norm
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.structures import Boxes

from .dense_head import HEADS, DenseHead, init_conv, prior_logit


@HEADS.register()
class ParallelHead(DenseHead):
    """A classification and a box branch of their own, as in ATSS (arXiv 1912.02424)."""

    @configurable
    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        anchor_generator: DefaultAnchorGenerator,
        anchor_type: str = "anchor_free",
        conv_dim: int = 256,
        num_convs: int = 4,
        norm: str = "GN",
        prior_prob: float = 0.01,
        centerness: bool = False,
    ):
        """
        Args:
            in_channels: of every feature map.
            num_classes: K.
            anchor_generator, anchor_type: see :class:`DenseHead`.
            conv_dim: channels of the branches.
            num_convs: convolutions in each branch before the prediction.
            norm: see ``detectron2.layers.get_norm``.
            prior_prob: initial value of the class scores.
            centerness: whether to predict centre-ness from the box branch, as ATSS does.
        """
        super().__init__(anchor_generator, anchor_type)

        def branch():
            return nn.Sequential(
                *(
                    Conv2d(
                        in_channels if i == 0 else conv_dim,
                        conv_dim,
                        3,
                        padding=1,
                        bias=False,
                        norm=get_norm(norm, conv_dim),
                        activation=F.relu,
                    )
                    for i in range(num_convs)
                )
            )

        self.cls_branch = branch()
        self.box_branch = branch()
        self.cls_logits = nn.Conv2d(conv_dim, num_classes, 3, padding=1)
        self.box_reg = nn.Conv2d(conv_dim, 4, 3, padding=1)
        self.centerness = nn.Conv2d(conv_dim, 1, 3, padding=1) if centerness else None
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init_conv(module, std=0.01)
        nn.init.constant_(self.cls_logits.bias, prior_logit(prior_prob))

    @classmethod
    def from_config(cls, cfg, input_shape):
        return {**super().from_config(cfg, input_shape), "centerness": cfg.MODEL.TOOD.CENTERNESS}

    def forward(
        self, features: list[Tensor], anchors: list[Boxes] | None = None
    ) -> tuple[list[Tensor], ...]:
        """
        Args:
            features: L maps (N, in_channels, Hi, Wi).
            anchors: see :meth:`DenseHead.with_anchors`.

        Returns:
            pred_logits: L maps (N, K, Hi, Wi).
            pred_boxes: L maps (N, 4, Hi, Wi), XYXY in pixels.
            pred_centerness: L maps (N, 1, Hi, Wi) of logits, if the head predicts them.
        """
        pred_logits, pred_boxes, pred_centerness = [], [], []
        for level, (feature, own_anchors) in enumerate(self.with_anchors(features, anchors)):
            pred_logits.append(self.cls_logits(self.cls_branch(feature)).float())
            box_feature = self.box_branch(feature)
            pred_boxes.append(self.decode(self.box_reg(box_feature), own_anchors, level))
            if self.centerness is not None:
                pred_centerness.append(self.centerness(box_feature).float())
        if self.centerness is None:
            return pred_logits, pred_boxes
        return pred_logits, pred_boxes, pred_centerness
