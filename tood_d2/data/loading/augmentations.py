"""Augmentations that Detectron2 does not have."""

import math

import numpy as np

import detectron2.data.transforms as T

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
