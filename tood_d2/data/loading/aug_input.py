"""An image and its boxes on their way through augmentations."""

import numpy as np

import detectron2.data.transforms as T


class ImageWithBoxes(T.AugInput):
    """Detectron2's input of augmentations, whose boxes are cut at the image's border.

    They are cut after each transform, so that what one has cut off does not come back where a later
    one widens the image. Boxes keep their place in the array, even if nothing of them is left.

    Attributes:
        boxes: (M, 4) float64, x1 y1 x2 y2 in pixels.
        visible: (M,), share of each box's area that has not been cut off.
        image_format: order of the channels, such as "BGR".
    """

    def __init__(self, image: np.ndarray, boxes: np.ndarray, image_format: str):
        """Takes an image (H, W, C) and boxes (M, 4), which may reach beyond it."""
        super().__init__(image, boxes=boxes)
        self.visible = np.ones(len(boxes))
        self.image_format = image_format
        self._cut()

    def transform(self, tfm: T.Transform) -> None:
        """Transforms image and boxes in place."""
        self.replace(tfm.apply_image(self.image), tfm.apply_box(self.boxes))

    def replace(self, image: np.ndarray, boxes: np.ndarray) -> None:
        """Puts a transformed image and its boxes, as many as before, in place of these."""
        self.image, self.boxes = image, boxes
        self._cut()

    def _cut(self) -> None:
        height, width = self.image.shape[:2]
        boxes = np.minimum(self.boxes.clip(min=0), [width, height, width, height])
        areas = _areas(self.boxes)
        share = np.divide(_areas(boxes), areas, out=np.zeros_like(areas), where=areas > 0)
        self.boxes, self.visible = boxes, self.visible * share


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1)
