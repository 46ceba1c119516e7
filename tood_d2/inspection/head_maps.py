"""What a detector predicts on one level: maps to look at, and a location to look into.

A level has Hi x Wi locations. Positions and boxes are in pixels of the network input.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.utils.visualizer import VisImage

from ..inference import DensePredictions
from .alignment_figures import anchor_centers, draw_box, finish_axes, map_extent, on_level
from .head_internals import SIDE_COLORS, HeadInternals

PICTURE_SIZE = 640  # pixels of a picture's longer side
LOCATION_COLOR = "red"


class LevelMaps(NamedTuple):
    """The predictions of a level: of a location's anchors that with the highest score."""

    stride: int
    centers: Tensor
    """(Hi, Wi, 2) of the locations, (x, y)."""
    scores: Tensor
    """(Hi, Wi), of the best class."""
    classes: Tensor
    """(Hi, Wi), the best class."""
    boxes: Tensor
    """(Hi, Wi, 4)."""
    alignment: Tensor | None
    """(Hi, Wi), see :class:`HeadInternals`; None if there are none."""
    offsets: Tensor | None
    """(Hi, Wi, 4, 2), see :class:`HeadInternals`; None if there are none."""

    def cell_at(self, x: float, y: float) -> tuple[int, int]:
        """(row, column) of the location next to a point of the network input."""
        distances = (self.centers - torch.tensor([x, y])).square().sum(dim=2)
        return divmod(distances.argmin().item(), distances.shape[1])

    def sampled(self, cell: tuple[int, int]) -> Tensor | None:
        """(4, 2), (x, y) where the left, top, right and bottom side of a location's box are read.

        None without offsets.
        """
        if self.offsets is None:
            return None
        return self.centers[cell] + self.stride * self.offsets[cell].flip(1)  # from (dy, dx)


def level_maps(
    predictions: DensePredictions,
    internals: HeadInternals | None,
    anchor_generator: DefaultAnchorGenerator,
    level: int,
    classes: list[int] | None = None,
) -> LevelMaps:
    """Takes the maps of a level out of an image's predictions.

    Args:
        predictions: of the image.
        internals: of the image, None for a head that is not task-aligned.
        anchor_generator: of the model, see :func:`anchor_generator_of`.
        level: index of the level.
        classes: indices of the classes that count, all by default.
    """
    sizes = predictions.level_sizes
    scores = on_level(predictions.scores.cpu(), sizes, level)
    boxes = on_level(predictions.boxes.cpu(), sizes, level)
    centers = on_level(anchor_centers(anchor_generator, sizes), sizes, level)
    if classes:
        counts = torch.zeros(scores.shape[3], dtype=torch.bool)
        counts[classes] = True
        scores = scores.where(counts, 0)
    scores, best_classes = scores.max(dim=3)
    best = scores.argmax(dim=2, keepdim=True)
    return LevelMaps(
        stride=anchor_generator.strides[level],
        centers=centers[:, :, 0],
        scores=scores.gather(2, best).squeeze(2),
        classes=best_classes.gather(2, best).squeeze(2),
        boxes=boxes.gather(2, best[..., None].expand(-1, -1, 1, 4)).squeeze(2),
        alignment=internals.alignment[level] if internals and internals.alignment else None,
        offsets=internals.offsets[level] if internals and internals.offsets else None,
    )


def picture_scale(image_size: tuple[int, int]) -> float:
    """Pixels of a picture per pixel of the network input, of (height, width)."""
    return max(PICTURE_SIZE / max(image_size), 1 / min(image_size))  # a picture has pixels


def draw_map(
    image: np.ndarray, values: Tensor, maps: LevelMaps, cell: tuple[int, int] | None
) -> np.ndarray:
    """Draws a map over an image, dark (0) to bright (1), and marks a location.

    Where the map has no location, the image is left as it is.

    Args:
        image: (H, W, 3), uint8 RGB, the network input.
        values: (Hi, Wi) of the level, from 0 to 1.
        maps: of the level.
        cell: (row, column) to mark.

    Returns:
        The picture, uint8 RGB, see :func:`picture_scale`.
    """
    picture = _picture(image.mean(axis=2, keepdims=True).repeat(3, axis=2))
    extent = map_extent(maps.centers, maps.stride)
    picture.ax.imshow(
        values.numpy(), cmap="inferno", extent=extent, vmin=0, vmax=1, alpha=0.7,
        interpolation="nearest",
    )  # fmt: skip
    if cell is not None:
        picture.ax.plot(*maps.centers[cell].tolist(), "o", mfc="none", mec="white", mew=2, ms=10)
    return _pixels(picture)


def draw_location(image: np.ndarray, maps: LevelMaps, cell: tuple[int, int] | None) -> np.ndarray:
    """Draws a location, its box, and from where each side of the box was read.

    The arguments and the picture are those of :func:`draw_map`.
    """
    picture = _picture(image)
    if cell is not None:
        ax, (x, y) = picture.ax, maps.centers[cell].tolist()
        draw_box(ax, maps.boxes[cell], LOCATION_COLOR)
        sampled = maps.sampled(cell)
        if sampled is not None:
            for color, point in zip(SIDE_COLORS.values(), sampled.tolist(), strict=True):
                ax.plot([x, point[0]], [y, point[1]], color=color, linewidth=2)
                ax.plot(*point, "o", color=color, mec="black", ms=8)
        ax.plot(x, y, "o", color="white", mec=LOCATION_COLOR, mew=2, ms=8)
    return _pixels(picture)


def _picture(image: np.ndarray) -> VisImage:
    picture = VisImage(image, picture_scale(image.shape[:2]))
    picture.ax.images[0].set_interpolation("auto")  # smooth if it becomes smaller
    return picture


def _pixels(picture: VisImage) -> np.ndarray:
    finish_axes(picture.ax, picture.img.shape)
    picture.ax.set_aspect("auto")  # fill the picture, whose sides are rounded
    return picture.get_image()
