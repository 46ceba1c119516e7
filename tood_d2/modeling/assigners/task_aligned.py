"""Task-aligned assignment (Sec. 3.2 of the paper). M ground-truth boxes, R anchors, K classes."""

import torch
from torch import Tensor

from detectron2.structures import Boxes, pairwise_iou

from .matching import BACKGROUND, centers_inside, match_by_priority

CONFLICT_RULES = ("iou", "area")


class TaskAlignedAssigner:
    """Matches ground truth to the anchors that predict it best, by t = s^alpha * u^beta (Eq. 9).

    s is an anchor's score for the box's class, u the IoU of its predicted box with it.
    """

    def __init__(
        self, topk: int = 13, alpha: float = 1.0, beta: float = 6.0, conflict: str = "iou"
    ):
        """
        Args:
            topk: candidates per ground-truth box (m in the paper).
            alpha: exponent of the class score.
            beta: exponent of the IoU.
            conflict: who gets an anchor that is a candidate of several boxes: the one with
                the larger IoU ("iou", the official code) or with the smaller area ("area",
                the paper's supplement).

        Raises:
            ValueError: if ``conflict`` is no known rule.
        """
        if conflict not in CONFLICT_RULES:
            raise ValueError(f"conflict must be one of {CONFLICT_RULES}, not {conflict!r}")
        self.topk = topk
        self.alpha = alpha
        self.beta = beta
        self.conflict = conflict

    @torch.no_grad()
    def __call__(
        self, pred_scores: Tensor, pred_boxes: Boxes, anchors: Boxes, gt_boxes: Boxes, gt_classes
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            pred_scores: (R, K) probabilities.
            pred_boxes: the R predicted boxes.
            anchors: the R anchors.
            gt_boxes: the M ground-truth boxes.
            gt_classes: (M,) int64.

        Returns:
            matched_idxs: (R,) int64, index of the ground-truth box or ``BACKGROUND``.
            alignment: (R,) normalised alignment metric in [0, 1], 0 for background.
        """
        if len(gt_boxes) == 0 or len(anchors) == 0:
            matched_idxs = gt_classes.new_full((len(anchors),), BACKGROUND)
            return matched_idxs, pred_scores.new_zeros(len(anchors))

        ious = pairwise_iou(gt_boxes, pred_boxes)  # (M, R)
        metric = pred_scores.T[gt_classes].pow(self.alpha) * ious.pow(self.beta)  # (M, R)

        # The topk anchors with the largest metric, over all levels ...
        topk_metric, topk_idxs = metric.topk(min(self.topk, len(anchors)), dim=1)  # (M, topk)
        # ... as far as it is positive and they are inside the box.
        inside = centers_inside(anchors.get_centers()[topk_idxs], gt_boxes.tensor)
        candidates = torch.zeros_like(metric, dtype=torch.bool)
        candidates.scatter_(1, topk_idxs, (topk_metric > 0) & inside)

        priority = ious if self.conflict == "iou" else -gt_boxes.area()[:, None]
        matched_idxs = match_by_priority(candidates, priority)
        return matched_idxs, normalize_alignment(matched_idxs, metric, ious)


def normalize_alignment(matched_idxs: Tensor, metric: Tensor, ious: Tensor) -> Tensor:
    """The normalised metric: t, scaled per box so that its maximum is the box's best IoU.

    Args:
        matched_idxs: (R,) with ``BACKGROUND`` for unmatched anchors.
        metric: (M, R) alignment metric t.
        ious: (M, R).

    Returns:
        (R,): ``t / (max t + 1e-7) * max u``, both maxima over the anchors matched to the
        same box; 0 for background.
    """
    matched = torch.zeros_like(metric, dtype=torch.bool)
    positive = matched_idxs != BACKGROUND
    matched.scatter_(0, matched_idxs.clamp(min=0)[None], positive[None])
    metric = torch.where(matched, metric, 0.0)
    ious = torch.where(matched, ious, 0.0)
    normalized = metric / (metric.amax(dim=1, keepdim=True) + 1e-7) * ious.amax(dim=1, keepdim=True)
    return normalized.sum(dim=0)
