"""Predictions, alone and next to the ground truth."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image
from torch import Tensor

from detectron2.structures import Boxes, Instances
from detectron2.utils.colormap import colormap
from detectron2.utils.visualizer import VisImage, Visualizer

from ..text import drawable

ROWS_AT_ONCE = 256


class _Picture(VisImage):
    """Lies over its image, for which matplotlib itself would need forty times the memory."""

    def reset_image(self, img: np.ndarray) -> None:
        self.ax.set(xlim=(0, self.width), ylim=(self.height, 0))

    def get_image(self) -> np.ndarray:
        self.canvas.draw()
        layer = np.asarray(self.canvas.buffer_rgba())
        picture = self.img.copy()
        for start in range(0, len(picture), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            drawn = layer[rows, :, 3] > 0
            below, above = picture[rows][drawn], layer[rows][drawn]
            alpha = above[:, 3:] / np.float32(255)
            picture[rows][drawn] = np.rint(below + alpha * (above[:, :3] - below.astype(np.int16)))
        return picture

    def save(self, filepath: str) -> None:
        Image.fromarray(self.get_image()).save(filepath)


class _Visualizer(Visualizer):
    """Draws on a :class:`_Picture`, and moves labels that would reach out of it on the right."""

    def __init__(self, image: np.ndarray):
        super().__init__(image[:1, :1])  # without copies of all
        self.img, self.output = image, _Picture(image)
        self._default_font_size = max(np.sqrt(image.shape[0] * image.shape[1]) // 90, 10)

    def draw_text(self, text, position, **kwargs):
        output = super().draw_text(text, position, **kwargs)
        label = output.ax.texts[-1]
        label.set_fontfamily(matplotlib.rcParams["font.family"])
        right = label.get_window_extent(output.canvas.get_renderer()).x1 / output.scale
        label.set_x(max(0, label.get_position()[0] - max(0, right - output.width)))
        return output


def class_color(number: int) -> np.ndarray:
    """The colour of a class in pictures: (3,) red, green and blue from 0 to 1.

    Args:
        number: of the class, its index. There are 74 colours, which repeat.
    """
    colors = colormap(rgb=True, maximum=1)
    return colors[number % len(colors)]


def draw_detections(
    image: np.ndarray,
    instances: Instances,
    class_names: list[str],
    color_numbers: Sequence[int] | None = None,
) -> VisImage:
    """Draws detections, those of a class always in the same colour.

    Args:
        image: (H, W, 3) uint8 RGB.
        instances: with ``pred_boxes`` in pixels of the image, ``scores`` and ``pred_classes``.
        class_names: of the classes, see :func:`.drawable`; empty if they are not known.
        color_numbers: for each class the number of its :func:`class_color`, by default its index.
    """
    scores = [f" {100 * x:.0f}%" for x in instances.scores.tolist()]
    boxes, classes = instances.pred_boxes, instances.pred_classes
    return _draw(image, boxes, classes, scores, class_names, color_numbers)


def draw_predictions(
    image: np.ndarray,
    instances: Instances,
    gt_instances: Instances,
    class_names: list[str],
    score_thresh: float,
) -> np.ndarray:
    """Draws the predictions on the left and the ground truth on the right, in the same colours.

    Args:
        image, instances, class_names: see :func:`draw_detections`.
        gt_instances: with ``gt_boxes`` in pixels of the image and ``gt_classes``.
        score_thresh: predictions with a lower score are left out.

    Returns:
        (H, 2 * W, 3) uint8 RGB.
    """
    instances = instances[instances.scores >= score_thresh].to("cpu")
    left = draw_detections(image, instances, class_names)
    gt = gt_instances.to("cpu")
    right = _draw(image, gt.gt_boxes, gt.gt_classes, [""] * len(gt), class_names)
    return np.concatenate([left.get_image(), right.get_image()], axis=1)


def _draw(
    image: np.ndarray,
    boxes: Boxes,
    classes: Tensor,
    suffixes: list[str],
    class_names: list[str],
    color_numbers: Sequence[int] | None = None,
) -> VisImage:
    classes = classes.tolist()
    numbers = classes if color_numbers is None else [color_numbers[x] for x in classes]
    with drawable(class_names) as names:
        return _Visualizer(image).overlay_instances(
            boxes=boxes.tensor.detach().numpy(),
            labels=[
                (names[x] if names else str(x)) + suffix
                for x, suffix in zip(classes, suffixes, strict=True)
            ],
            assigned_colors=[*map(class_color, numbers)],
        )
