"""The task-aligned head as a plug-in for other detectors (Table 1 of the paper).

N images, L levels of Hi x Wi locations with one anchor each, K classes.
"""

import torch
from torch import Tensor, nn

from detectron2.modeling.box_regression import Box2BoxTransform, Box2BoxTransformLinear
from detectron2.structures import Boxes

from .dense_head import init_conv
from .task_aligned_head import TaskAlignedHead


class TaskAlignedDeltaHead(TaskAlignedHead):
    """Takes the place of a head that predicts box deltas, such as ``FCOSHead``.

    Assignment, losses and post-processing stay the detector's. Its anchors have to be the
    head's, too.
    """

    def __init__(
        self,
        *,
        box2box_transform: Box2BoxTransform | Box2BoxTransformLinear,
        centerness: bool = False,
        conv_dim: int = 256,
        **kwargs,
    ):
        """
        Args:
            box2box_transform: the detector's.
            centerness: whether to predict centre-ness from the task-specific features of the
                boxes, as ``FCOS`` wants it.
            conv_dim, kwargs: see :class:`TaskAlignedHead`.
        """
        super().__init__(conv_dim=conv_dim, **kwargs)
        self.box2box_transform = box2box_transform
        self.centerness = nn.Conv2d(conv_dim, 1, 3, padding=1) if centerness else None
        if centerness:
            init_conv(self.centerness, std=0.01)

    def forward(
        self, features: list[Tensor], anchors: list[Boxes] | None = None
    ) -> tuple[list[Tensor], ...]:
        """
        Args:
            features: L maps (N, in_channels, Hi, Wi).
            anchors: see :meth:`DenseHead.with_anchors`.

        Returns:
            pred_logits: L maps (N, K, Hi, Wi).
            pred_deltas: L maps (N, 4, Hi, Wi) that ``box2box_transform`` takes from the anchors
                to the aligned boxes.
            pred_centerness: L maps (N, 1, Hi, Wi) of logits, if the head predicts them.
        """
        pred_logits, pred_deltas, pred_centerness = [], [], []
        for level, (feature, own_anchors) in enumerate(self.with_anchors(features, anchors)):
            task_features = self.level_features(feature)
            pred_logits.append(self.predict_logits(task_features))
            boxes = self.predict_boxes(task_features, own_anchors, level)
            boxes = boxes.flatten(2).transpose(1, 2)  # (N, Hi * Wi, 4)
            deltas = [self.box2box_transform.get_deltas(own_anchors.tensor, x) for x in boxes]
            deltas = torch.stack(deltas).transpose(1, 2)
            pred_deltas.append(deltas.unflatten(2, feature.shape[2:]))
            if self.centerness is not None:
                pred_centerness.append(self.centerness(task_features.box).float())
        if self.centerness is None:
            return pred_logits, pred_deltas
        return pred_logits, pred_deltas, pred_centerness
