"""What anchors should predict. N images, R anchors in all levels, K classes."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from detectron2.structures import Boxes, Instances

from .assigners import BACKGROUND, MIN_ALIGNMENT
from .losses import centerness

SIZES = ("small", "medium", "large")
"""COCO's sizes of objects."""

MIN_AREAS = (32**2, 96**2)
"""The least area of boxes of medium and of large objects, in square pixels."""


class Targets(NamedTuple):
    """Targets of the anchors of one image, (R, ...), or of a batch, (N, R, ...)."""

    labels: Tensor
    """(N, R) int64, K for background."""
    boxes: Tensor
    """(N, R, 4), zero for background."""
    alignment: Tensor
    """(N, R) normalised alignment metric, under ATSS 1; zero for background."""
    positive: Tensor
    """(N, R) bool, False for background."""
    valid: Tensor
    """(N, R) bool, False where the anchor's centre is in the padding of the batch."""
    num_objects: Tensor
    """(N, 3) int64, number of objects of each of :data:`SIZES`, in pixels of the network input."""
    num_unmatched: Tensor
    """(N, 3) int64, those of them without an anchor."""


def centered_in_image(anchors: Boxes, image_size: tuple[int, int], multiple: int) -> Tensor:
    """Which anchors have their centre in an image that is padded to a multiple by itself.

    Args:
        anchors: R anchors.
        image_size: (height, width) before padding.
        multiple: what batches are padded to a multiple of.

    Returns:
        (R,) bool.
    """
    height, width = (-(-size // multiple) * multiple for size in image_size)
    x, y = anchors.get_centers().unbind(dim=1)
    return (x < width) & (y < height)


def image_targets(
    matched_idxs: Tensor, alignment: Tensor, valid: Tensor, gt: Instances, num_classes: int
) -> Targets:
    """Targets of the anchors of an image from their assignment.

    Args:
        matched_idxs: (R,) index of the ground-truth box or ``BACKGROUND``.
        alignment: (R,) zero for background.
        valid: (R,) bool.
        gt: instances with ``gt_boxes`` and ``gt_classes``.
        num_classes: K.
    """
    num_objects = len(gt.gt_classes)
    has_anchor = torch.zeros(num_objects + 1, dtype=torch.bool, device=valid.device)
    has_anchor.index_fill_(0, matched_idxs - BACKGROUND, True)  # BACKGROUND goes to the front
    areas = gt.gt_boxes.area()
    sizes = sum((areas >= least).long() for least in MIN_AREAS)
    is_size = sizes == torch.arange(len(SIZES), device=valid.device)[:, None]  # (3, M)
    # Its targets are put behind those of the objects, where the index -1 finds them.
    labels = F.pad(gt.gt_classes, (0, 1), value=num_classes)
    boxes = F.pad(gt.gt_boxes.tensor, (0, 0, 0, 1))
    return Targets(
        labels=labels[matched_idxs],
        boxes=boxes[matched_idxs],
        alignment=alignment,
        positive=matched_idxs != BACKGROUND,
        valid=valid,
        num_objects=is_size.sum(dim=1),
        num_unmatched=(is_size & ~has_anchor[1:]).sum(dim=1),
    )


def stack_targets(targets: list[Targets]) -> Targets:
    """Targets of a batch from those of its images."""
    return Targets(*map(torch.stack, zip(*targets, strict=True)))


def target_centerness(anchors: Boxes, targets: Targets) -> Tensor:
    """Centre-ness of the anchors of a batch in their boxes, (N, R), zero for background.

    That of a positive anchor whose centre is outside of its box is :data:`MIN_ALIGNMENT`.
    """
    centers, boxes = anchors.get_centers(), targets.boxes
    inside = ((boxes[..., :2] < centers) & (centers < boxes[..., 2:])).all(dim=-1)
    values = torch.where(inside, centerness(centers, boxes), MIN_ALIGNMENT)
    return torch.where(targets.positive, values, 0)


def assignment_metrics(targets: Targets, level_sizes: dict[str, int]) -> dict[str, Tensor]:
    """What to log of an assignment, without waiting for the device.

    Args:
        targets: of a batch.
        level_sizes: number of anchors of each level, by its name.

    Returns:
        Positive anchors, in all and by level, and objects without an anchor, all per image; the
        mean alignment of the positive anchors, 0 without any. Each is a scalar tensor.
    """
    num_images = len(targets.positive)
    levels = targets.positive.split(list(level_sizes.values()), dim=1)
    num_positive = targets.positive.sum()
    metrics = {"num_pos_anchors": num_positive / num_images}
    for name, level in zip(level_sizes, levels, strict=True):
        metrics[f"num_pos_anchors/{name}"] = level.sum() / num_images
    metrics["unmatched_objects"] = targets.num_unmatched.sum() / num_images
    metrics["alignment"] = targets.alignment.sum() / num_positive.clamp(min=1)
    return metrics
