"""What the assigners share. M ground-truth boxes, R anchors of one image.

Of the M x R pairs only some candidates per box matter. They are looked for in blocks of boxes, so
that memory does not grow with M x R. Nothing waits for the device.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

BACKGROUND = -1
"""The matched index of an anchor that is matched to no ground-truth box."""

# An anchor is inside a box from this distance on, in pixels.
MIN_INSIDE = 0.01

# Any area that is not zero is larger, in square pixels.
MIN_UNION = 1e-12

# Pairs that are looked at together: 1 MB for each of the quantities that they have.
BLOCK_PAIRS = 1 << 18


def split_pairs(
    num_boxes: int, anchors: Tensor, num_buffers: int
) -> Iterator[tuple[slice, list[Tensor]]]:
    """Blocks of boxes, each with buffers for its pairs with all anchors.

    The buffers are the same for all blocks. Operations that write to them take a fraction of the
    time of those that allocate their result.

    Args:
        num_boxes: M.
        anchors: (R, 4), R > 0; the buffers are of its type.
        num_buffers: for each block.

    Yields:
        Slice of the boxes and (block, R) buffers with anything in them.
    """
    num_anchors = len(anchors)
    size = max(min(BLOCK_PAIRS // num_anchors, num_boxes), 1)
    buffers = anchors.new_empty(num_buffers, size, num_anchors)
    for start in range(0, num_boxes, size):
        block = slice(start, min(start + size, num_boxes))
        yield block, list(buffers[:, : block.stop - start])


def pairwise_iou_(ious: Tensor, buffers: list[Tensor], boxes1: Tensor, boxes2: Tensor) -> None:
    """Detectron2's ``pairwise_iou`` without allocations.

    Args:
        ious: (block, R), for the result. The IoU of two empty boxes is 0.
        buffers: three of the same size.
        boxes1: (block, 4).
        boxes2: (4, R), one row for each coordinate.
    """
    left, top, right, bottom = boxes1[:, :, None].unbind(dim=1)
    x1, y1, x2, y2 = boxes2
    width, height, union = buffers
    torch.minimum(right, x2, out=width).sub_(torch.maximum(left, x1, out=union)).clamp_(min=0)
    torch.minimum(bottom, y2, out=height).sub_(torch.maximum(top, y1, out=union)).clamp_(min=0)
    torch.mul(width, height, out=ious)
    area1, area2 = (right - left) * (bottom - top), (x2 - x1) * (y2 - y1)
    torch.add(area1, area2, out=union).sub_(ious)
    ious.div_(union.clamp_(min=MIN_UNION))


def check_floors(min_candidate_size: float, min_positives: int) -> None:
    """Raises a ValueError if what assigners do for small objects is not possible."""
    if not 0 <= min_candidate_size < math.inf:
        raise ValueError(
            f"min_candidate_size should be a number of pixels, 0 for none, not {min_candidate_size}"
        )
    if not isinstance(min_positives, int) or min_positives < 0:
        raise ValueError(
            f"min_positives should be a number of anchors, 0 for none, not {min_positives}"
        )


def centers_inside(centers: Tensor, gt_boxes: Tensor, min_size: float = 0.0) -> Tensor:
    """Which anchor centres lie inside their ground-truth box.

    Args:
        centers: (M, A, 2), x and y of A anchors for each box.
        gt_boxes: (M, 4).
        min_size: pixels to which each shorter side of a box is widened about its centre.

    Returns:
        (M, A) bool.
    """
    if min_size > 0:
        half_missing = (min_size - (gt_boxes[:, 2:] - gt_boxes[:, :2])).clamp(min=0) / 2
        gt_boxes = gt_boxes + torch.cat((-half_missing, half_missing), dim=1)
    boxes = gt_boxes[:, None]
    sides = torch.cat((centers - boxes[..., :2], boxes[..., 2:] - centers), dim=-1)
    return sides.amin(dim=-1) > MIN_INSIDE


def match_by_priority(
    anchor_idxs: Tensor, candidates: Tensor, priority: Tensor, num_anchors: int
) -> Tensor:
    """Gives every anchor to the box with the highest priority among those that want it.

    Args:
        anchor_idxs: (M, A) int64, A different anchors for each box.
        candidates: (M, A) bool, whether the box wants that anchor.
        priority: broadcastable to (M, A), finite; of equal ones the first box has it.
        num_anchors: R.

    Returns:
        (R,) int64: index of the box, or :data:`BACKGROUND`.
    """
    priority = torch.where(candidates, priority, -math.inf)
    highest = priority.new_full((num_anchors,), -math.inf)
    highest.scatter_reduce_(0, anchor_idxs.flatten(), priority.flatten(), "amax")
    winners = candidates & (priority == highest[anchor_idxs])
    num_boxes = len(anchor_idxs)
    gt_idxs = torch.arange(num_boxes, device=anchor_idxs.device)[:, None]
    gt_idxs = torch.where(winners, gt_idxs, num_boxes)
    matched_idxs = anchor_idxs.new_full((num_anchors,), num_boxes)
    matched_idxs.scatter_reduce_(0, anchor_idxs.flatten(), gt_idxs.flatten(), "amin")
    return torch.where(matched_idxs < num_boxes, matched_idxs, BACKGROUND)
