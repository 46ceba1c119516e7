"""The task-aligned head in Detectron2's FCOS (Table 1 of the paper).

N images, L levels of Hi x Wi locations with one anchor each, K classes.
"""

import torch
from torch import Tensor, nn

from .dense_head import init_conv
from .task_aligned_head import TaskAlignedHead


class TaskAlignedFCOSHead(TaskAlignedHead):
    """Takes the place of ``FCOSHead``; assignment, losses and post-processing stay FCOS's.

    Its anchors have to be FCOS's: squares of one stride, centred in their cells. Centre-ness
    is predicted from the task-specific features of the boxes.
    """

    def __init__(self, *, conv_dim: int = 256, **kwargs):
        """
        Args:
            conv_dim, kwargs: see :class:`TaskAlignedHead`.
        """
        super().__init__(conv_dim=conv_dim, **kwargs)
        self.centerness = nn.Conv2d(conv_dim, 1, 3, padding=1)
        init_conv(self.centerness, std=0.01)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """
        Args:
            features: L maps (N, in_channels, Hi, Wi).

        Returns:
            pred_logits: L maps (N, K, Hi, Wi).
            pred_deltas: L maps (N, 4, Hi, Wi), distances from the anchor's centre to the left,
                top, right and bottom in strides, as ``Box2BoxTransformLinear`` takes them.
            pred_centerness: L maps (N, 1, Hi, Wi) of logits.
        """
        pred_logits, pred_deltas, pred_centerness = [], [], []
        for level, (feature, anchors) in enumerate(
            zip(features, self.anchor_generator(features), strict=True)
        ):
            inter_features = self.interactive_features(feature)
            pooled = inter_features.mean(dim=(2, 3), keepdim=True)
            box_feature = self.box_decomposition(inter_features, pooled)
            pred_logits.append(self.predict_logits(inter_features, pooled))
            boxes = self.predict_boxes(inter_features, box_feature, anchors, level)
            centers = anchors.get_centers().T.reshape(2, *feature.shape[-2:])
            distances = torch.cat((centers - boxes[:, :2], boxes[:, 2:] - centers), dim=1)
            pred_deltas.append(distances / self.anchor_generator.strides[level])
            pred_centerness.append(self.centerness(box_feature).float())
        return pred_logits, pred_deltas, pred_centerness
