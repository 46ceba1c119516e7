"""Non-maximum suppression of one image's detections, class by class.

D detections, F of them found.
"""

import torch
from torch import Tensor

from detectron2.layers import batched_nms
from detectron2.structures import Boxes, pairwise_iou

NMS_TYPES = ("hard", "soft_linear", "soft_gaussian")


def suppress(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor,
    *,
    nms_type: str = "hard",
    nms_thresh: float,
    sigma: float = 0.5,
    score_thresh: float = 0.0,
    max_detections: int,
) -> tuple[Tensor, Tensor]:
    """Hard NMS, or Soft-NMS (arXiv 1704.04503), which lowers scores instead of dropping boxes.

    Args:
        boxes: (D, 4) XYXY, finite.
        scores: (D,) finite, at least 0.
        classes: (D,) int64.
        nms_type: one of ``NMS_TYPES``.
        nms_thresh: IoU with a better box above which a box is dropped, or its score times 1 - IoU
            if "soft_linear". "soft_gaussian" ignores it.
        sigma: of "soft_gaussian", which multiplies each score by exp(-IoU^2 / sigma). Small ones
            suppress more.
        score_thresh: of Soft-NMS, whose detections need a larger score.
        max_detections: number of detections returned at most.

    Returns:
        kept: (F,) positions in the input, by falling score. Of equal scores Soft-NMS takes the
            first one first.
        scores: (F,) of these.
    """
    if nms_type == "hard":
        kept = batched_nms(boxes, scores, classes, nms_thresh)[:max_detections]
        return kept, scores[kept]
    kept, scores = _soft_nms(boxes, scores, classes, nms_type, nms_thresh, sigma, max_detections)
    found = scores > score_thresh
    return kept[found], scores[found]


def check_nms_type(nms_type: str, sigma: float) -> None:
    """Raises a ValueError on what is no type of NMS, or a sigma that does not do."""
    if nms_type not in NMS_TYPES:
        raise ValueError(
            f"test_nms_type or MODEL.TOOD.NMS_TYPE_TEST (YAML) should be {' or '.join(NMS_TYPES)}, "
            f"not {nms_type!r}"
        )
    if not sigma > 0:
        raise ValueError(
            f"test_soft_nms_sigma or MODEL.TOOD.SOFT_NMS_SIGMA_TEST (YAML) should be above 0, not "
            f"{sigma}"
        )


def _soft_nms(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor,
    nms_type: str,
    nms_thresh: float,
    sigma: float,
    max_detections: int,
) -> tuple[Tensor, Tensor]:
    """Algorithm 1 of the paper, as far as the ``max_detections`` best; see :func:`suppress`.

    The number of steps depends on the number of boxes alone, so that a GPU is never waited for.
    """
    all_boxes = Boxes(boxes.float())
    waiting = torch.ones_like(scores, dtype=torch.bool)
    kept, kept_scores = [], []
    for _ in range(min(len(scores), max_detections)):
        best = torch.where(waiting, scores, -1).argmax(dim=0, keepdim=True)
        kept.append(best)
        kept_scores.append(scores[best])
        waiting = waiting.index_fill(0, best, False)
        ious = pairwise_iou(all_boxes[best], all_boxes)[0]
        if nms_type == "soft_linear":
            decay = torch.where(ious > nms_thresh, 1 - ious, 1)
        else:
            decay = torch.exp(-(ious**2) / sigma)
        scores = torch.where(classes == classes[best], scores * decay.to(scores.dtype), scores)
    if not kept:
        return classes[:0], scores[:0]
    return torch.cat(kept), torch.cat(kept_scores)
