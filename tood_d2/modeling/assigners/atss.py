"""Adaptive training sample selection (arXiv 1912.02424). M ground-truth boxes, R anchors."""

import torch
from torch import Tensor

from detectron2.structures import Boxes, pairwise_iou

from .matching import BACKGROUND, centers_inside, match_by_priority


class ATSSAssigner:
    """Matches ground truth to near anchors with an outstanding IoU (Algorithm 1)."""

    def __init__(self, topk: int = 9):
        """
        Args:
            topk: candidates per ground-truth box and level.
        """
        self.topk = topk

    @torch.no_grad()
    def __call__(self, anchors: list[Boxes], gt_boxes: Boxes) -> Tensor:
        """
        Args:
            anchors: the anchors of each level, R in all.
            gt_boxes: the M ground-truth boxes.

        Returns:
            (R,) int64: index of the ground-truth box or ``BACKGROUND``.
        """
        anchors_per_level = [len(x) for x in anchors]
        anchors = Boxes.cat(anchors)
        if len(gt_boxes) == 0 or len(anchors) == 0:
            return torch.full((len(anchors),), BACKGROUND, device=gt_boxes.device)

        centers = anchors.get_centers()
        distances = torch.cdist(
            gt_boxes.get_centers(), centers, compute_mode="donot_use_mm_for_euclid_dist"
        )  # (M, R)
        # The topk nearest anchors of each level ...
        near_idxs, start = [], 0
        for level_distances in distances.split(anchors_per_level, dim=1):
            num_anchors = level_distances.shape[1]
            nearest = level_distances.topk(min(self.topk, num_anchors), dim=1, largest=False)
            near_idxs.append(nearest.indices + start)
            start += num_anchors
        near_idxs = torch.cat(near_idxs, dim=1)  # (M, candidates)

        # ... whose IoU reaches the mean plus the standard deviation over them ...
        ious = pairwise_iou(gt_boxes, anchors)  # (M, R)
        near_ious = ious.gather(1, near_idxs)
        correction = min(1, near_ious.shape[1] - 1)  # a single candidate has no deviation
        std, mean = torch.std_mean(near_ious, dim=1, correction=correction, keepdim=True)
        # ... and that are inside the box.
        inside = centers_inside(centers[near_idxs], gt_boxes.tensor)
        candidates = torch.zeros_like(ious, dtype=torch.bool)
        candidates.scatter_(1, near_idxs, (near_ious >= mean + std) & inside)
        return match_by_priority(candidates, ious)
