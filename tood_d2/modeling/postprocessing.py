"""From dense predictions to detections."""

import torch
from torch import Tensor

from detectron2.layers import cat
from detectron2.structures import Boxes, Instances

from .suppression import suppress


def select_detections(
    pred_scores: list[Tensor],
    pred_boxes: list[Tensor],
    image_size: tuple[int, int],
    *,
    score_thresh: float,
    topk_candidates: int,
    nms_thresh: float,
    max_detections: int,
    nms_type: str = "hard",
    soft_nms_sigma: float = 0.5,
) -> Instances:
    """Selects, clips and suppresses the dense predictions of one image.

    Predictions that are not finite are dropped.

    Args:
        pred_scores: (Hi * Wi, K) probabilities of each level.
        pred_boxes: (Hi * Wi, 4) of each level.
        image_size: (height, width).
        score_thresh: detections need a larger score.
        topk_candidates: (location, class) pairs per level that go into NMS.
        nms_thresh: IoU above which NMS suppresses, within a class.
        max_detections: number of detections returned at most.
        nms_type, soft_nms_sigma: see :func:`.suppress`; Soft-NMS lowers scores and then drops
            those that are no longer above ``score_thresh``.

    Returns:
        Instances with ``pred_boxes``, ``scores`` and ``pred_classes``, by falling score.
    """
    boxes, scores, classes = [], [], []
    for level_scores, level_boxes in zip(pred_scores, pred_boxes, strict=True):
        finite = level_boxes.isfinite().all(dim=1, keepdim=True)
        candidates = (level_scores > score_thresh) & finite
        anchor_idxs, class_idxs = torch.nonzero(candidates, as_tuple=True)
        kept_scores = level_scores[anchor_idxs, class_idxs]
        kept_scores, topk = kept_scores.topk(min(topk_candidates, len(kept_scores)))
        boxes.append(level_boxes[anchor_idxs[topk]])
        scores.append(kept_scores)
        classes.append(class_idxs[topk])
    boxes, scores, classes = Boxes(cat(boxes)), cat(scores), cat(classes)
    boxes.clip(image_size)
    keep, scores = suppress(
        boxes.tensor,
        scores,
        classes,
        nms_type=nms_type,
        nms_thresh=nms_thresh,
        sigma=soft_nms_sigma,
        score_thresh=score_thresh,
        max_detections=max_detections,
    )
    return Instances(image_size, pred_boxes=boxes[keep], scores=scores, pred_classes=classes[keep])
