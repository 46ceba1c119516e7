"""Adaptive training sample selection (arXiv 1912.02424). M ground-truth boxes, R anchors."""

import math

import torch
from torch import Tensor

from detectron2.structures import Boxes
from detectron2.structures.boxes import matched_pairwise_iou

from .guarantee import guarantee_positives
from .matching import BACKGROUND, centers_inside, check_floors, match_by_priority, split_pairs


class ATSSAssigner:
    """Matches ground truth to near anchors with an outstanding IoU (Algorithm 1)."""

    def __init__(self, topk: int = 9, min_candidate_size: float = 0.0, min_positives: int = 0):
        """
        Args:
            topk: candidates per ground-truth box and level.
            min_candidate_size, min_positives: see :class:`TaskAlignedAssigner`.

        Raises:
            ValueError: if one of the last two is negative.
        """
        check_floors(min_candidate_size, min_positives)
        self.topk = topk
        self.min_candidate_size = min_candidate_size
        self.min_positives = min_positives

    @torch.no_grad()
    def __call__(
        self, anchors: list[Boxes], gt_boxes: Boxes, valid: Tensor | None = None
    ) -> Tensor:
        """
        Args:
            anchors: the anchors of each level, R in all.
            gt_boxes: the M ground-truth boxes.
            valid: (R,) bool, which anchors may be matched; None for all.

        Returns:
            (R,) int64: index of the ground-truth box or ``BACKGROUND``.
        """
        anchors_per_level = [len(x) for x in anchors]
        anchors = Boxes.cat(anchors)
        if len(gt_boxes) == 0 or len(anchors) == 0:
            return torch.full((len(anchors),), BACKGROUND, device=gt_boxes.device)

        centers = anchors.get_centers()
        if valid is None:
            valid = torch.ones(len(anchors), dtype=torch.bool, device=centers.device)
        # The others are infinitely far away.
        x, y = torch.where(valid, centers.T, math.inf)
        # The topk nearest anchors of each level ...
        found = []
        for block, (dx, dy) in split_pairs(len(gt_boxes), anchors.tensor, 2):
            gt_x, gt_y = gt_boxes.get_centers()[block, :, None].unbind(dim=1)
            torch.sub(x, gt_x, out=dx).square_()
            torch.sub(y, gt_y, out=dy).square_()
            distances = dx.add_(dy).sqrt_()  # (block, R)
            nearest, start = [], 0
            for level_distances in distances.split(anchors_per_level, dim=1):
                num_anchors = level_distances.shape[1]
                topk = level_distances.topk(min(self.topk, num_anchors), dim=1, largest=False)
                nearest.append(topk.indices + start)
                start += num_anchors
            found.append(torch.cat(nearest, dim=1))
        anchor_idxs = torch.cat(found)  # (M, A)

        # ... whose IoU reaches the mean plus the standard deviation over them ...
        gt = Boxes(gt_boxes.tensor.repeat_interleave(anchor_idxs.shape[1], dim=0))
        ious = matched_pairwise_iou(gt, anchors[anchor_idxs.flatten()]).view_as(anchor_idxs)
        near = valid[anchor_idxs]  # all, but for levels with less than topk anchors
        number = near.sum(dim=1, keepdim=True)
        mean = (ious * near).sum(dim=1, keepdim=True) / number
        # Rounding must not lift the mean of equal IoUs above all of them.
        mean = mean.minimum((ious * near).amax(dim=1, keepdim=True))
        variance = ((ious - mean).square() * near).sum(dim=1, keepdim=True) / (number - 1)
        std = torch.where(number > 1, variance, 0).sqrt()
        # ... and that are inside the box.
        inside = centers_inside(centers[anchor_idxs], gt_boxes.tensor, self.min_candidate_size)
        candidates = near & (ious >= mean + std) & inside
        matched_idxs = match_by_priority(anchor_idxs, candidates, ious, len(anchors))
        if self.min_positives == 0:
            return matched_idxs
        boxes = anchors.tensor, gt_boxes.tensor
        return guarantee_positives(
            matched_idxs, anchor_idxs, ious, *boxes, valid, self.min_positives
        )
