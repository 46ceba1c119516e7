"""Samples that are made of several images of the data set."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import detectron2.data.transforms as T
from detectron2.structures import Boxes, Instances

_MIN_SIDE = 1  # of a box that remains, in pixels


@dataclass
class Mixing:
    """When samples are mixed: with a probability, and not at the end of training.

    What is mixed are the mapper's samples, so images have been resized before. The last part of
    training sees real images (YOLOX, arXiv 2107.08430, Sec. 2.1).
    """

    prob: float = 0.0
    close: float = 0.1  # share of training, its end, without mixing
    num_iters: int | None = None  # length of training; None mixes without end
    batches_per_iter: int = 1  # with gradient accumulation

    num_others = 0  # images that are needed besides the sample's own

    def __post_init__(self):
        name = type(self).__name__
        for field in ("prob", "close"):
            if not 0 <= getattr(self, field) <= 1:
                raise ValueError(f"{field} of {name} should be 0 to 1, not {getattr(self, field)}")

    @property
    def num_batches(self) -> float:
        """Batches of a process, from the first one of training, that have mixed samples."""
        if self.num_iters is None:
            return math.inf
        return (1 - self.close) * self.num_iters * self.batches_per_iter

    def __call__(self, samples: Sequence[dict]) -> dict:
        """Makes one sample of several.

        Args:
            samples: of the mapper, the sample's own first, with "image", (C, H, W) uint8, and
                "instances" with gt_boxes and gt_classes; other fields of these are left out.

        Returns:
            A copy of the first one, with another "image" of its size and other "instances".
        """
        raise NotImplementedError


@dataclass
class Mosaic(Mixing):
    """Four images about a random point (YOLOv4, arXiv 2004.10934, Sec. 3.4).

    The canvas has the size of the sample's own image. The point lies in its middle half. Each image
    is scaled at random and touches the point with a corner; what reaches beyond the canvas is cut.
    """

    scale: tuple[float, float] = (0.5, 1.0)  # range of the images' scale
    min_visible: float = 0.25  # share of a box that has to remain
    pad_value: int = 114  # of pixels without an image; about the mean of ImageNet

    num_others = 3

    def __call__(self, samples: Sequence[dict]) -> dict:
        channels, height, width = samples[0]["image"].shape
        canvas = torch.full((channels, height, width), self.pad_value, dtype=torch.uint8)
        x = round(np.random.uniform(0.25, 0.75) * width)
        y = round(np.random.uniform(0.25, 0.75) * height)
        instances = []
        for i, sample in enumerate(samples):
            image, boxes = _rescaled(sample, np.random.uniform(*self.scale))
            image_height, image_width = image.shape[1:]
            # The image's upper left corner on the canvas: left or right, above or below the point.
            left, top = x - image_width * (i % 2 == 0), y - image_height * (i < 2)
            x1, x2 = max(left, 0), min(left + image_width, width)
            y1, y2 = max(top, 0), min(top + image_height, height)
            canvas[:, y1:y2, x1:x2] = image[:, y1 - top : y2 - top, x1 - left : x2 - left]
            boxes = boxes + boxes.new_tensor([left, top, left, top])
            limits = boxes.new_tensor([x1, y1, x2, y2])
            instances.append(
                visible_instances(
                    boxes, sample["instances"].gt_classes, limits, (height, width), self.min_visible
                )
            )
        return samples[0] | {"image": canvas, "instances": Instances.cat(instances)}


def visible_instances(
    boxes: torch.Tensor,
    classes: torch.Tensor,
    limits: torch.Tensor,
    image_size: tuple[int, int],
    min_visible: float,
) -> Instances:
    """Cuts boxes and leaves out those of which too little remains.

    Args:
        boxes: (M, 4), x1 y1 x2 y2.
        classes: (M,).
        limits: (4,), the rectangle that is visible.
        image_size: height and width.
        min_visible: share of a box's area that has to remain.
    """
    cut = torch.minimum(torch.maximum(boxes, limits[[0, 1, 0, 1]]), limits[[2, 3, 2, 3]])
    sides = cut[:, 2:] - cut[:, :2]
    share = sides.prod(dim=1) / (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    keep = (sides >= _MIN_SIDE).all(dim=1) & (share >= min_visible)
    return Instances(image_size, gt_boxes=Boxes(cut[keep]), gt_classes=classes[keep])


def _rescaled(sample: dict[str, Any], scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The image (C, H, W) and its boxes (M, 4), both scaled."""
    image = sample["image"].permute(1, 2, 0).numpy()
    height, width = image.shape[:2]
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    resize = T.ResizeTransform(height, width, new_height, new_width)
    boxes = sample["instances"].gt_boxes.tensor
    factors = boxes.new_tensor([new_width / width, new_height / height] * 2)
    pixels = np.array(resize.apply_image(image).transpose(2, 0, 1), order="C")
    return torch.from_numpy(pixels), boxes * factors
