"""Augmentations that Detectron2 does not have."""

import math

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

import detectron2.data.transforms as T

from .aug_input import ImageWithBoxes

MAX_ASPECT_RATIO = 100


class LimitAspectRatio(T.Augmentation):
    """Widens the thin side of an image, as a resize that keeps its ratio could leave nothing of it.

    Boxes found in the result are right once they are scaled to the image, each side by itself.
    """

    def __init__(self, max_ratio: float = MAX_ASPECT_RATIO):
        """
        Args:
            max_ratio: of the longer side to the shorter one.
        """
        super().__init__()
        self.max_ratio = max_ratio

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Returns what makes the shorter side of an image (H, W, C) long enough."""
        height, width = image.shape[:2]
        least = math.ceil(max(height, width) / self.max_ratio)
        if min(height, width) >= least:
            return T.NoOpTransform()
        return T.ResizeTransform(height, width, max(height, least), max(width, least))


class TorchvisionAugmentation(T.Augmentation):
    """A transform of ``torchvision.transforms.v2``, or a ``v2.Compose`` of some.

    It sees RGB, whatever the model's order of channels, and boxes as floats. Boxes that it removes,
    as ``SanitizeBoundingBoxes`` does, or leaves without area, as ``RandomIoUCrop`` does, lose their
    annotation. It draws from PyTorch's generator, which :func:`.seeded` seeds for each sample.

    Only an image and its boxes are transformed: nothing can be transformed later in the same way.
    """

    def __init__(self, transform: v2.Transform):
        """Takes the transform of one image and its boxes."""
        super().__init__()
        self.transform = transform

    def __call__(self, aug_input: ImageWithBoxes) -> T.Transform:
        """Transforms image and boxes in place.

        Raises:
            TypeError: if the input is another one than the training mapper's.
        """
        if not isinstance(aug_input, ImageWithBoxes):
            raise TypeError(f"{self} works in the mapper of training data alone")
        is_bgr = aug_input.image_format == "BGR"
        height, width = aug_input.image.shape[:2]
        left = np.flatnonzero(aug_input.visible)
        # RandomIoUCrop looks in vain for a part with a box, without end, if there is none.
        boxes = aug_input.boxes[left] if len(left) else np.array([[0.0, 0, width, height]])
        image = aug_input.image[:, :, ::-1] if is_bgr else aug_input.image
        sample = self.transform(
            {
                "image": tv_tensors.Image(np.ascontiguousarray(image.transpose(2, 0, 1))),
                "boxes": tv_tensors.BoundingBoxes(
                    boxes, format="XYXY", canvas_size=(height, width)
                ),
                "labels": torch.arange(len(boxes)),  # tell which boxes are left
            }
        )
        image = sample["image"].numpy()[::-1] if is_bgr else sample["image"].numpy()
        result = np.zeros_like(aug_input.boxes)
        if len(left):
            result[left[sample["labels"].numpy()]] = sample["boxes"].numpy()
        aug_input.replace(np.ascontiguousarray(image.transpose(1, 2, 0)), result)
        return _AppliedOnce()


class _AppliedOnce(T.Transform):
    """Stands for a transform of torchvision that has been applied."""

    def apply_image(self, img: np.ndarray):
        raise NotImplementedError(
            "transforms of torchvision are for images and boxes, not for masks or keypoints: set "
            "use_instance_mask and use_keypoint of the mapper to False"
        )

    apply_coords = apply_box = apply_polygons = apply_segmentation = apply_image
