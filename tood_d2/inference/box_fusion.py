"""Weighted box fusion (arXiv 1910.13302), which averages boxes where NMS drops all but one.

V views (models, or versions of an image), D detections of all views, F fused ones.

The package of the paper's authors, ensemble-boxes, had its last release in 2022 and would bring a
compiler, numba, that fusion has no need of; the tests compare with it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from detectron2.structures import Boxes, pairwise_iou

SCORE_TYPES = ("avg", "max")


def fuse_boxes(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor,
    views: Tensor,
    weights: Sequence[float],
    *,
    iou_thresh: float = 0.55,
    score_thresh: float = 0.0,
    score_type: str = "avg",
) -> tuple[Tensor, Tensor, Tensor]:
    """Clusters the detections of each class and makes one detection of each cluster.

    Detections come by falling weighted score, of equal ones the first one first. Each joins the
    cluster whose fused box has the largest IoU with its box, or begins a new cluster. Coordinates
    are averaged with the weighted scores (Eq. 2 and 3).

    Args:
        boxes: (D, 4) XYXY, finite.
        scores: (D,) finite.
        classes: (D,) int64.
        views: (D,) int64, from 0 to V - 1, the view of each detection.
        weights: of the V views, positive.
        iou_thresh: IoU with a fused box that the boxes of its cluster exceed.
        score_thresh: detections need a larger score, and one above 0.
        score_type: "avg", the sum of the weighted scores over that of all views' weights, or of the
            cluster's if that is larger: what few views have found has a lower score (Eq. 1 and 5).
            "max", the largest weighted score over the largest weight.

    Returns:
        boxes (F, 4), scores (F,) and classes (F,), by falling score.
    """
    all_weights = scores.new_tensor(weights, dtype=torch.float64)
    used = torch.nonzero(scores > max(score_thresh, 0))[:, 0]
    view_weights = all_weights[views[used]]
    weighted, order = (scores[used] * view_weights).sort(descending=True, stable=True)
    view_weights, used = view_weights[order], used[order]

    # Clusters in the order of their first, best boxes.
    fused = boxes.new_zeros((len(used), 4), dtype=torch.float64)
    fused_classes = torch.full_like(used, -1)
    best, score_sums, weight_sums = (torch.zeros_like(weighted) for _ in range(3))
    number = 0
    rows = zip(boxes[used].double(), weighted, view_weights, classes[used], strict=True)
    for box, score, weight, cls in rows:
        ious = pairwise_iou(Boxes(fused[:number]), Boxes(box[None]))[:, 0]
        ious = torch.where(fused_classes[:number] == cls, ious, -1)
        place = int(ious.argmax()) if number else 0
        if number == 0 or ious[place] <= iou_thresh:
            place, number = number, number + 1
            fused_classes[place], best[place] = cls, score
        score_sums[place] += score
        weight_sums[place] += weight
        fused[place] += (box - fused[place]) * (score / score_sums[place])

    if score_type == "max":
        result = best[:number] / all_weights.max()
    else:
        result = score_sums[:number] / weight_sums[:number].clamp(min=all_weights.sum())
    result, order = result.sort(descending=True, stable=True)
    return fused[order].to(boxes.dtype), result.to(scores.dtype), fused_classes[order]
