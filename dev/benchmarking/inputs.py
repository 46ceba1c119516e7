"""Random inputs, the same for every contender.

R anchors in all levels, M ground-truth boxes, K classes. Boxes are XYXY in pixels.
"""

import math

import torch
from torch import Tensor, nn

from detectron2.structures import Boxes, Instances

STRIDES = (8, 16, 32, 64, 128)
MIN_OBJECT = 8  # pixels
MAX_DISTANCES = 1 << 24  # that are in memory at once


def random_images(num_images: int, size: tuple[int, int], generator: torch.Generator):
    """(num_images, 3, H, W) uint8."""
    shape = (num_images, 3, *size)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


def random_instances(
    num_objects: int, size: tuple[int, int], num_classes: int, generator: torch.Generator
) -> Instances:
    """Ground truth anywhere in an image.

    Widths and heights are uniform in their logarithm, from 8 pixels to half the image's short
    side.

    Args:
        num_objects: M.
        size: (height, width) of the image, at least 8 each.
        num_classes: K.
        generator: on the CPU.
    """
    max_object = max(min(size) / 2, MIN_OBJECT)
    random = torch.rand(4, num_objects, generator=generator)
    sides = MIN_OBJECT * (random[:2] * math.log(max_object / MIN_OBJECT)).exp()  # (2, M)
    corners = random[2:] * (torch.tensor([[size[1]], [size[0]]]) - sides)
    return Instances(
        size,
        gt_boxes=Boxes(torch.cat((corners, corners + sides)).T.contiguous()),
        gt_classes=torch.randint(num_classes, (num_objects,), generator=generator),
    )


def grid_anchors(anchor_generator: nn.Module, size: tuple[int, int]) -> Boxes:
    """The R anchors of an image, level after level.

    Args:
        anchor_generator: with ``strides``.
        size: (height, width).
    """
    strides = getattr(anchor_generator, "strides", STRIDES)
    maps = [torch.zeros(1, 1, *(math.ceil(x / stride) for x in size)) for stride in strides]
    return Boxes.cat(anchor_generator(maps))


def random_predictions(anchors: Boxes, gt_boxes: Boxes, generator: torch.Generator) -> Boxes:
    """(R,) boxes: anchors, with those that are inside the nearest object drawn towards it.

    They go a random part of the way, so that some fit well and many badly, as a detector's do while
    it learns.

    Args:
        anchors: R.
        gt_boxes: M > 0.
        generator: on the CPU.
    """
    centers = gt_boxes.get_centers()
    chunk = max(MAX_DISTANCES // len(centers), 1)
    nearest = torch.cat(
        [torch.cdist(x, centers).argmin(dim=1) for x in anchors.get_centers().split(chunk)]
    )
    objects = gt_boxes.tensor[nearest]
    centers = anchors.get_centers()
    inside = (centers > objects[:, :2]) & (centers < objects[:, 2:])
    progress = torch.rand(len(anchors), 1, generator=generator) * inside.all(dim=1, keepdim=True)
    return Boxes(torch.lerp(anchors.tensor, objects, progress))


def random_logits(like: Tensor, generator: torch.Generator) -> Tensor:
    """Class logits as a trained detector's: one score in 300 is above 0.05.

    Args:
        like: of the shape, type and device that are wanted.
        generator: on the CPU.
    """
    return (1.5 * torch.randn(like.shape, generator=generator) - 7).to(like)
