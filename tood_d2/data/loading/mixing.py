"""Samples that are made of several images of the data set."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

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
    min_visible: float = 0.25  # share of a box that has to remain for the object to be kept

    num_others: ClassVar[int]  # images that are needed besides the sample's own

    def __post_init__(self):
        for name in ("prob", "close", "min_visible"):
            self._check(name, 0 <= getattr(self, name) <= 1, "from 0 to 1")

    def _check(self, name: str, fulfilled: bool, rule: str) -> None:
        if not fulfilled:
            kind = type(self).__name__
            raise ValueError(f"{name} of {kind} should be {rule}, not {getattr(self, name)!r}")

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

    scale: Sequence[float] = (0.5, 1.0)  # range of the images' scale
    pad_value: int = 114  # of pixels without an image; about the mean of ImageNet

    num_others: ClassVar[int] = 3

    def __post_init__(self):
        super().__post_init__()
        low, high = self.scale
        self._check("scale", 0 < low <= high, "a range above 0")

    def __call__(self, samples: Sequence[dict]) -> dict:
        channels, height, width = samples[0]["image"].shape
        canvas = torch.full((channels, height, width), self.pad_value, dtype=torch.uint8)
        x = round(np.random.uniform(0.25, 0.75) * width)
        y = round(np.random.uniform(0.25, 0.75) * height)
        parts = []
        for i, sample in enumerate(samples):
            image, instances = _rescaled(sample, np.random.uniform(*self.scale))
            image_height, image_width = image.shape[1:]
            # The image's upper left corner on the canvas: left or right, above or below the point.
            left, top = x - image_width * (i % 2 == 0), y - image_height * (i < 2)
            x1, x2 = max(-left, 0), min(image_width, width - left)
            y1, y2 = max(-top, 0), min(image_height, height - top)
            canvas[:, top + y1 : top + y2, left + x1 : left + x2] = image[:, y1:y2, x1:x2]
            part = torch.tensor([x1, y1, x2, y2])
            shift = torch.tensor([left, top, left, top])
            parts.append(_visible(instances, part, self.min_visible, (height, width), shift))
        return samples[0] | {"image": canvas, "instances": Instances.cat(parts)}


@dataclass
class CopyPaste(Mixing):
    """Some objects of another image, at random places (after arXiv 2012.07177).

    There masks cut them out, here their boxes do, with what else is in these.
    """

    max_objects: int = 3  # of the other image; from one to so many are drawn

    num_others: ClassVar[int] = 1

    def __post_init__(self):
        super().__post_init__()
        self._check("max_objects", self.max_objects >= 1, "at least 1")

    def __call__(self, samples: Sequence[dict]) -> dict:
        own, other = samples
        image = own["image"].clone()
        size = height, width = tuple(image.shape[1:])
        objects, result = other["instances"], _boxes_alone(own["instances"])
        order = np.random.permutation(len(objects))
        for i in order[: np.random.randint(self.max_objects) + 1]:
            x1, y1, x2, y2 = _outer_pixels(objects.gt_boxes.tensor[i], other["image"])
            if x2 - x1 > width or y2 - y1 > height:
                continue
            left = np.random.randint(width - (x2 - x1) + 1)
            top = np.random.randint(height - (y2 - y1) + 1)
            image[:, top : top + y2 - y1, left : left + x2 - x1] = other["image"][:, y1:y2, x1:x2]
            part = torch.tensor([x1, y1, x2, y2])
            shift = torch.tensor([left - x1, top - y1] * 2)
            pasted = _visible(objects, part, self.min_visible, size, shift)
            covered = _covered_share(result.gt_boxes.tensor, part + shift)
            result = Instances.cat([result[covered <= 1 - self.min_visible], pasted])
        return own | {"image": image, "instances": result}


def _boxes_alone(instances: Instances) -> Instances:
    fields = {"gt_boxes": instances.gt_boxes, "gt_classes": instances.gt_classes}
    return Instances(instances.image_size, **fields)


def _visible(
    instances: Instances,
    part: torch.Tensor,
    min_visible: float,
    image_size: tuple[int, int],
    shift: torch.Tensor,
) -> Instances:
    """Cuts objects and leaves out those of which too little remains.

    Args:
        instances: with gt_boxes (M, 4) and gt_classes (M,).
        part: (4,), x1 y1 x2 y2 of what is taken of their image.
        min_visible: share of a box's area that has to remain.
        image_size: height and width of the image that the part is put into.
        shift: (4,), x y x y from the one image to the other.
    """
    boxes = instances.gt_boxes.tensor
    cut = torch.minimum(torch.maximum(boxes, part[[0, 1, 0, 1]]), part[[2, 3, 2, 3]])
    sides = cut[:, 2:] - cut[:, :2]
    share = sides.prod(dim=1) / (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    keep = (sides >= _MIN_SIDE).all(dim=1) & (share >= min_visible)
    boxes, classes = (cut + shift)[keep], instances.gt_classes[keep]
    return Instances(image_size, gt_boxes=Boxes(boxes), gt_classes=classes)


def _covered_share(boxes: torch.Tensor, rectangle: torch.Tensor) -> torch.Tensor:
    """The shares (M,) of boxes' areas that a rectangle (4,) covers."""
    upper_left = torch.maximum(boxes[:, :2], rectangle[:2])
    lower_right = torch.minimum(boxes[:, 2:], rectangle[2:])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    return (lower_right - upper_left).clamp(min=0).prod(dim=1) / areas


def _outer_pixels(box: torch.Tensor, image: torch.Tensor) -> tuple[int, int, int, int]:
    """The pixels x1 y1 x2 y2 of an image (C, H, W) that a box touches."""
    height, width = image.shape[1:]
    x1, y1, x2, y2 = box.tolist()
    x2, y2 = min(math.ceil(x2), width), min(math.ceil(y2), height)
    return math.floor(x1), math.floor(y1), x2, y2


def _rescaled(sample: dict[str, Any], scale: float) -> tuple[torch.Tensor, Instances]:
    """The image (C, H, W) and its objects at another scale."""
    image = sample["image"].permute(1, 2, 0).numpy()
    height, width = image.shape[:2]
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    resize = T.ResizeTransform(height, width, new_height, new_width)
    pixels = np.array(resize.apply_image(image).transpose(2, 0, 1), order="C")
    boxes = sample["instances"].gt_boxes.clone()
    boxes.scale(new_width / width, new_height / height)
    classes = sample["instances"].gt_classes
    instances = Instances((new_height, new_width), gt_boxes=boxes, gt_classes=classes)
    return torch.from_numpy(pixels), instances
