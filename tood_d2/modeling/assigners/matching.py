"""What the assigners share. M ground-truth boxes, R anchors of one image."""

import math

import torch
from torch import Tensor

BACKGROUND = -1
"""The matched index of an anchor that is matched to no ground-truth box."""

# An anchor is inside a box from this distance on, in pixels.
MIN_INSIDE = 0.01


def centers_inside(centers: Tensor, gt_boxes: Tensor) -> Tensor:
    """Which anchor centres lie inside their ground-truth box.

    Args:
        centers: (M, A, 2), x and y of A anchors for each box.
        gt_boxes: (M, 4).

    Returns:
        (M, A) bool.
    """
    boxes = gt_boxes[:, None]
    sides = torch.cat((centers - boxes[..., :2], boxes[..., 2:] - centers), dim=-1)
    return sides.amin(dim=-1) > MIN_INSIDE


def match_by_priority(candidates: Tensor, priority: Tensor) -> Tensor:
    """Gives every anchor to the box with the highest priority among those that want it.

    Args:
        candidates: (M, R) bool, M > 0.
        priority: (M, R) or (M, 1), finite.

    Returns:
        (R,) int64: index of the box, or :data:`BACKGROUND`.
    """
    best, matched_idxs = torch.where(candidates, priority, -math.inf).max(dim=0)
    return torch.where(best > -math.inf, matched_idxs, BACKGROUND)
