"""Anchors for the objects that an assignment leaves with too few. M ground-truth boxes, R anchors.

Nothing waits for the device: what is done does not depend on how many objects need anchors.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .matching import BACKGROUND, match_by_priority, split_pairs

# In which objects that want the same anchor find others.
NUM_ROUNDS = 8

MIN_ALIGNMENT = 0.1
"""The least soft label of an anchor that an object has by the guarantee alone.

Where nothing that is predicted overlaps an object, its IoU of 0 would make the anchor a negative.
Twice the test-time threshold of scores, it lets the object be learned and detected. It is also the
centre-ness of anchors whose centre is outside of their box.
"""


def guarantee_positives(
    matched_idxs: Tensor,
    anchor_idxs: Tensor,
    priority: Tensor,
    anchors: Tensor,
    gt_boxes: Tensor,
    valid: Tensor | None,
    min_positives: int,
) -> Tensor:
    """Gives each object at least so many anchors, if there are as many for each.

    An object with too few takes the nearest anchors that are not among the ``min_positives`` best
    of another object; where several objects want one, the nearest object has it and the others
    their next; who has too few after 8 such rounds, as in crowds of equal boxes, takes the next
    ones in the order of the anchors.

    Near is what has a small Wasserstein distance as in arXiv 2110.13389, in which centres and sizes
    count alike, so that small objects get anchors of fine levels.

    Args:
        matched_idxs: (R,) int64, index of the box or ``BACKGROUND``.
        anchor_idxs: (M, A) int64, with those that are matched to the box.
        priority: (M, A), finite, the larger the better.
        anchors: (R, 4).
        gt_boxes: (M, 4).
        valid: (R,) bool, which anchors may be matched; None for all.
        min_positives: k.

    Returns:
        (R,) int64 like ``matched_idxs``.
    """
    num_boxes, num_anchors = len(gt_boxes), len(anchors)
    gt_idxs = torch.arange(num_boxes, device=anchors.device)[:, None]
    matched = matched_idxs[anchor_idxs] == gt_idxs
    order = priority.masked_fill(~matched, -torch.inf).argsort(dim=1, descending=True, stable=True)
    best = order[:, :min_positives]
    # Each object keeps its best anchors; those that it has besides are free.
    is_kept = matched.gather(1, best)
    if valid is None:
        valid = torch.ones(num_anchors, dtype=torch.bool, device=anchors.device)
    kept_idxs = torch.where(is_kept, anchor_idxs.gather(1, best), num_anchors)
    free = F.pad(valid, (0, 1)).index_fill_(0, kept_idxs.flatten(), False)[:-1]
    lacking = min_positives - is_kept.sum(dim=1)  # (M,)

    near_idxs, distances = _nearest(anchors, gt_boxes, free, min_positives * NUM_ROUNDS)
    for _ in range(NUM_ROUNDS):
        wanted = free[near_idxs]
        wanted &= wanted.cumsum(dim=1) <= lacking[:, None]
        winners = match_by_priority(near_idxs, wanted, -distances, num_anchors)
        given = winners != BACKGROUND
        matched_idxs = torch.where(given, winners, matched_idxs)
        free = free & ~given
        lacking = lacking - (wanted & (winners[near_idxs] == gt_idxs)).sum(dim=1)
    return _fill(matched_idxs, free, near_idxs[:, 0], lacking, min_positives)


def _nearest(anchors: Tensor, gt_boxes: Tensor, free: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The nearest free anchors of each box, (M, number) indices and squared distances."""
    coordinates = anchors.T.contiguous()
    found = []
    for block, (total, buffer) in split_pairs(len(gt_boxes), anchors, 2):
        total.zero_()
        # A box as a normal distribution: centres and halves of the sizes, in other words corners.
        for row, side in zip(coordinates, gt_boxes[block, :, None].unbind(dim=1), strict=True):
            total.add_(torch.sub(row, side, out=buffer).square_())
        total.clamp_(max=torch.finfo(total.dtype).max).masked_fill_(~free, torch.inf)
        found.append(total.topk(min(number, len(anchors)), dim=1, largest=False))
    distances = torch.cat([x.values for x in found])
    return torch.cat([x.indices for x in found]), distances


def _fill(
    matched_idxs: Tensor, free: Tensor, start_idxs: Tensor, lacking: Tensor, min_positives: int
) -> Tensor:
    """Gives what objects still lack, from an anchor on in the order of the anchors.

    Args:
        matched_idxs, free: (R,).
        start_idxs: (M,) where each object begins to look.
        lacking: (M,) number of anchors that it lacks, at most ``min_positives``.
        min_positives: k.
    """
    num_anchors, num_wanted = len(free), len(lacking) * min_positives
    order = torch.arange(num_wanted, device=free.device)
    gt_idxs, number = order // min_positives, order % min_positives
    wanted = number < lacking[gt_idxs]
    num_free = free.cumsum(dim=0)  # (R,)
    # The position among the free anchors from which each wish looks, those of no use last.
    starts = (num_free - free.long())[start_idxs][gt_idxs]
    starts, sorting = torch.where(wanted, starts, num_anchors).sort(stable=True)
    # Each takes the next position after that of the wish before it, and leaves room for the rest.
    positions = order + (starts - order).cummax(dim=0).values
    positions = positions.minimum(num_free[-1] - wanted.sum() + order)
    is_given = wanted[sorting] & (positions >= 0)
    anchor_idxs = torch.where(is_given, torch.searchsorted(num_free, positions + 1), num_anchors)
    return F.pad(matched_idxs, (0, 1)).scatter_(0, anchor_idxs, gt_idxs[sorting])[:-1]
