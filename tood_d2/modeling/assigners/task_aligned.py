"""Task-aligned assignment (Sec. 3.2 of the paper). M ground-truth boxes, R anchors, K classes."""

import torch
from torch import Tensor

from detectron2.structures import Boxes
from detectron2.structures.boxes import matched_pairwise_iou

from .guarantee import MIN_ALIGNMENT, guarantee_positives
from .matching import (
    BACKGROUND,
    centers_inside,
    check_floors,
    match_by_priority,
    pairwise_iou_,
    split_pairs,
)

CONFLICT_RULES = ("iou", "area")


class TaskAlignedAssigner:
    """Matches ground truth to the anchors that predict it best, by t = s^alpha * u^beta (Eq. 9).

    s is an anchor's score for the box's class, u the IoU of its predicted box with it.
    """

    def __init__(
        self,
        topk: int = 13,
        alpha: float = 1.0,
        beta: float = 6.0,
        conflict: str = "iou",
        min_candidate_size: float = 0.0,
        min_positives: int = 0,
    ):
        """
        Args:
            topk: candidates per ground-truth box (m in the paper).
            alpha: exponent of the class score.
            beta: exponent of the IoU.
            conflict: who gets an anchor that is a candidate of several boxes: the one with
                the larger IoU ("iou", the official code) or with the smaller area ("area",
                the paper's supplement).
            min_candidate_size: pixels of the network input; an anchor may have its centre in a
                box of at least this width and height around the ground-truth box's centre. 0 for
                none: then a box between the centres of the finest level, ``stride`` pixels apart,
                gets no anchor.
            min_positives: anchors that each object gets, see :func:`guarantee_positives`. The soft
                label of those is their IoU, but at least ``MIN_ALIGNMENT``.

        Raises:
            ValueError: if ``conflict`` is no known rule or one of the last two is negative.
        """
        check_floors(min_candidate_size, min_positives)
        if conflict not in CONFLICT_RULES:
            raise ValueError(f"conflict must be one of {CONFLICT_RULES}, not {conflict!r}")
        self.topk = topk
        self.alpha = alpha
        self.beta = beta
        self.conflict = conflict
        self.min_candidate_size = min_candidate_size
        self.min_positives = min_positives

    @torch.no_grad()
    def __call__(
        self,
        pred_scores: Tensor,
        pred_boxes: Boxes,
        anchors: Boxes,
        gt_boxes: Boxes,
        gt_classes: Tensor,
        valid: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            pred_scores: (R, K) probabilities.
            pred_boxes: the R predicted boxes.
            anchors: the R anchors.
            gt_boxes: the M ground-truth boxes.
            gt_classes: (M,) int64.
            valid: (R,) bool, which anchors may be matched; None for all.

        Returns:
            matched_idxs: (R,) int64, index of the ground-truth box or ``BACKGROUND``.
            alignment: (R,) normalised alignment metric in [0, 1], 0 for background.
        """
        if len(gt_boxes) == 0 or len(anchors) == 0:
            matched_idxs = gt_classes.new_full((len(anchors),), BACKGROUND)
            return matched_idxs, anchors.tensor.new_zeros(len(anchors))

        scores = pred_scores.T.to(anchors.tensor.dtype)  # (K, R)
        if valid is not None:
            scores = scores * valid  # without a score an anchor is matched to nothing
        if len(gt_boxes) > len(scores):
            scores = scores.contiguous()  # slower to make than some rows are to read
        coordinates = pred_boxes.tensor.T.contiguous()
        # The topk anchors with the largest metric, over all levels ...
        topk = min(self.topk, len(anchors))
        found = []
        for block, (ious, metric, *buffers) in split_pairs(len(gt_boxes), anchors.tensor, 4):
            pairwise_iou_(ious, [metric, *buffers], gt_boxes.tensor[block], coordinates)
            class_scores = torch.index_select(scores, 0, gt_classes[block], out=buffers[0])
            # As a square's power, because PyTorch is ten times as fast with an exponent of 2 or 3.
            torch.square(ious, out=metric).pow_(self.beta / 2)
            metric.mul_(class_scores.pow_(self.alpha))
            topk_metric, anchor_idxs = metric.topk(topk, dim=1)
            found.append((anchor_idxs, topk_metric, ious.gather(1, anchor_idxs)))
        anchor_idxs, metric, ious = map(torch.cat, zip(*found, strict=True))  # (M, topk)
        # ... as far as it is positive and they are inside the box.
        centers = anchors.get_centers()[anchor_idxs]
        inside = centers_inside(centers, gt_boxes.tensor, self.min_candidate_size)
        candidates = (metric > 0) & inside

        priority = ious if self.conflict == "iou" else -gt_boxes.area()[:, None]
        matched_idxs = regular = match_by_priority(anchor_idxs, candidates, priority, len(anchors))
        if self.min_positives > 0:
            boxes = anchors.tensor, gt_boxes.tensor
            matched_idxs = guarantee_positives(
                regular, anchor_idxs, metric, *boxes, valid, self.min_positives
            )
        gt_idxs = torch.arange(len(gt_boxes), device=anchor_idxs.device)[:, None]
        matched = candidates & (matched_idxs[anchor_idxs] == gt_idxs)
        alignment = metric.new_zeros(len(anchors))
        normalized = normalize_alignment(metric, ious, matched)
        alignment.scatter_reduce_(0, anchor_idxs.flatten(), normalized.flatten(), "amax")
        if self.min_positives > 0:
            ious = matched_pairwise_iou(pred_boxes, gt_boxes[matched_idxs]).nan_to_num()
            least = alignment.maximum(ious).clamp(MIN_ALIGNMENT, 1)
            alignment = torch.where(matched_idxs != regular, least, alignment)
        return matched_idxs, alignment


def normalize_alignment(metric: Tensor, ious: Tensor, matched: Tensor) -> Tensor:
    """The normalised metric: t, scaled per box so that its maximum is the box's best IoU.

    Args:
        metric: (M, A) alignment metric t of A anchors for each box.
        ious: (M, A).
        matched: (M, A) bool, whether the anchor is matched to the box.

    Returns:
        (M, A): ``t / (max t + 1e-7) * max u``, both maxima over the anchors matched to the
        box; 0 for others.
    """
    metric = torch.where(matched, metric, 0.0)
    ious = torch.where(matched, ious, 0.0)
    return metric / (metric.amax(dim=1, keepdim=True) + 1e-7) * ious.amax(dim=1, keepdim=True)
