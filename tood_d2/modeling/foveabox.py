"""FoveaBox (arXiv 1904.03797), the third detector that Table 1 of the paper puts T-head in.

N images, L levels, R locations in all levels, M ground-truth boxes, K classes.
"""

import math

import torch
import torch.nn.functional as F
from fvcore.nn import sigmoid_focal_loss
from torch import Tensor, nn

from detectron2.modeling import Backbone
from detectron2.modeling.box_regression import (
    Box2BoxTransformLinear,
    _dense_box_regression_loss,
)
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import get_event_storage

from .box_alignment import MAX_LOG_DISTANCE

# In strides: the distance that is learned as zero, half of a level's basic scale r_l.
BASE_EDGE = 2


class LogDistanceTransform(Box2BoxTransformLinear):
    """Deltas are the logarithms of the distances to the four sides (Eq. 5 of FoveaBox).

    Source boxes are squares of one stride, as FCOS's anchors; a distance of ``BASE_EDGE`` of them
    has the delta 0.
    """

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """(R, 4) from two times (R, 4). Distances below 1/16 of the base edge count as that."""
        distances = super().get_deltas(src_boxes, target_boxes)
        return (distances / BASE_EDGE).clamp(min=1 / 16).log()

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """(R, 4) boxes from (R, 4) deltas and (R, 4) source boxes."""
        return super().apply_deltas(BASE_EDGE * deltas.clamp(max=MAX_LOG_DISTANCE).exp(), boxes)


class FoveaBox(FCOS):
    """FCOS with other positives, a logarithmic box transform and no centre-ness.

    A location is positive for the boxes whose middle part it is in, on the levels that are
    responsible for their scale. Settings are those of the authors' code as MMDetection has them
    (``foveabox/fovea_r50_fpn_4x4_1x_coco.py``).
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        num_classes: int,
        sigma: float = 0.4,
        focal_loss_alpha: float = 0.4,
        focal_loss_gamma: float = 1.5,
        smooth_l1_beta: float = 0.11,
        test_score_thresh: float = 0.05,
        test_nms_thresh: float = 0.5,
        **kwargs,
    ):
        """
        Args:
            backbone, head, num_classes, kwargs: see ``FCOS``; the head predicts logits
                (N, K, Hi, Wi) and deltas (N, 4, Hi, Wi).
            sigma: the positive part of a box's width and height.
            focal_loss_alpha, focal_loss_gamma: of the classification loss.
            smooth_l1_beta: of the box loss.
            test_score_thresh: detections need a larger score.
            test_nms_thresh: IoU above which NMS suppresses.
        """
        super().__init__(
            backbone=backbone,
            head=head,
            num_classes=num_classes,
            box2box_transform=LogDistanceTransform(),
            focal_loss_alpha=focal_loss_alpha,
            focal_loss_gamma=focal_loss_gamma,
            test_score_thresh=test_score_thresh,
            test_nms_thresh=test_nms_thresh,
            **kwargs,
        )
        self.sigma = sigma
        self.smooth_l1_beta = smooth_l1_beta

    def _match_anchors(self, gt_boxes: Boxes, anchors: list[Boxes]) -> Tensor:
        """(M, R) match quality: zero or, larger for smaller boxes, positive."""
        locations = Boxes.cat(anchors)
        strides = locations.tensor[:, 2] - locations.tensor[:, 0]
        # Level l is responsible for the scales [r_l / 2, 2 r_l], where r_l is 4 strides; the
        # outermost levels for all beyond, too.
        lowest, highest = 2 * strides, 8 * strides
        lowest[: len(anchors[0])] = 0
        highest[-len(anchors[-1]) :] = math.inf

        scales = gt_boxes.area().sqrt()[:, None]
        matched = (scales >= lowest) & (scales <= highest)
        boxes = gt_boxes.tensor
        distances = locations.get_centers() - gt_boxes.get_centers()[:, None]
        fovea = self.sigma / 2 * (boxes[:, None, 2:] - boxes[:, None, :2])
        matched &= (distances.abs() <= fovea).all(dim=2)
        return matched * (1e8 - gt_boxes.area()[:, None])

    def forward_training(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: tuple[list[Tensor], list[Tensor]],
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """Losses of one batch, see :meth:`losses`."""
        pred_logits, pred_deltas = self._transpose_predictions(predictions)
        anchors = self.anchor_generator(features)
        gt_labels, gt_boxes = self.label_anchors(anchors, gt_instances)
        return self.losses(anchors, pred_logits, gt_labels, pred_deltas, gt_boxes)

    def _transpose_predictions(self, predictions) -> list[list[Tensor]]:
        return self._transpose_dense_predictions(predictions, [self.num_classes, 4])

    def losses(
        self,
        anchors: list[Boxes],
        pred_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_deltas: list[Tensor],
        gt_boxes: list[Tensor],
    ) -> dict[str, Tensor]:
        """Focal loss and smooth L1 loss.

        Args:
            anchors: the anchors of each level.
            pred_logits: L tensors (N, Hi * Wi, K).
            gt_labels: N tensors (R,), K for background.
            pred_deltas: L tensors (N, Hi * Wi, 4).
            gt_boxes: N tensors (R, 4), XYXY in pixels of the network input.

        Returns:
            ``loss_cls``, divided by the number of positives and images, and ``loss_box_reg``,
            divided by the number of positives.
        """
        num_images = len(gt_labels)
        labels = torch.stack(gt_labels)
        positive = labels != self.num_classes
        num_positive = positive.sum().item()
        get_event_storage().put_scalar("[metric] num_pos_anchors", num_positive / num_images)
        pred_logits = torch.cat(pred_logits, dim=1)
        cls_targets = F.one_hot(labels, self.num_classes + 1)[..., :-1].to(pred_logits.dtype)
        loss_cls = sigmoid_focal_loss(
            pred_logits,
            cls_targets,
            alpha=self.focal_loss_alpha,
            gamma=self.focal_loss_gamma,
            reduction="sum",
        )
        loss_box_reg = _dense_box_regression_loss(
            anchors,
            self.box2box_transform,
            pred_deltas,
            gt_boxes,
            positive,
            box_reg_loss_type="smooth_l1",
            smooth_l1_beta=self.smooth_l1_beta,
        )
        return {
            "loss_cls": loss_cls / (num_positive + num_images),
            "loss_box_reg": loss_box_reg / max(num_positive, 1),
        }

    def forward_inference(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: tuple[list[Tensor], list[Tensor]],
    ) -> list[Instances]:
        """Detections of each image, see ``FCOS.inference_single_image``."""
        pred_logits, pred_deltas = self._transpose_predictions(predictions)
        anchors = self.anchor_generator(features)
        return [
            self.inference_single_image(
                anchors,
                [logits[i].sigmoid() for logits in pred_logits],
                [deltas[i] for deltas in pred_deltas],
                image_size,
            )
            for i, image_size in enumerate(images.image_sizes)
        ]
