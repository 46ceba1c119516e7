"""Inside the head of a detector: what a task-aligned one computes, and the maps of a level.

L levels of Hi x Wi locations, ``num_convs`` interactive layers. Positions and boxes are in pixels
of the network input.
"""

from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.utils.visualizer import VisImage

from ..inference import DensePredictions
from ..modeling.heads.task_decomposition import pool_layers
from . import alignment_figures as figures

SIDE_COLORS = {"left": "deepskyblue", "top": "magenta", "right": "orange", "bottom": "springgreen"}
PICTURE_SIZE = 640  # pixels of a picture's longer side
LOCATION_COLOR = "red"


class HeadInternals(NamedTuple):
    """What a task-aligned head computes of an image on its way to the predictions."""

    cls_weights: Tensor
    """(L, num_convs) layer attention for classification (Eq. 3)."""
    box_weights: Tensor
    """(L, num_convs) layer attention for localisation."""
    offsets: list[Tensor]
    """L maps (Hi, Wi, 4, 2) in cells, (dy, dx), to where the left, top, right and bottom side of
    a box are read (Eq. 8); empty if the head does not align boxes."""
    alignment: list[Tensor]
    """L maps M (Hi, Wi), the probabilities by which scores are aligned (Eq. 5); empty if the head
    does not align scores."""


@torch.no_grad()
def head_internals(model: DenseDetector, batched_input: dict) -> HeadInternals:
    """Runs a detector up to its head's attention, map M and offsets.

    Args:
        model: with a ``TaskAlignedHead``, in evaluation mode.
        batched_input: "image", (C, H, W).

    Returns:
        The internals, on the CPU.
    """
    head = model.head
    features = model.backbone(model.preprocess_image([batched_input]).tensor)
    cls_weights, box_weights, offsets, alignment = [], [], [], []
    for name in model.head_in_features:
        layers = head.interactive_features(features[name])
        pooled = pool_layers(layers)
        cls_weights.append(head.cls_decomposition.layer_attention(pooled).flatten())
        box_weights.append(head.box_decomposition.layer_attention(pooled).flatten())
        task_features = head.task_features(layers)
        if task_features.offsets is not None:
            offsets.append(task_features.offsets[0].permute(1, 2, 0).unflatten(2, (4, 2)).cpu())
        if task_features.alignment_logits is not None:
            alignment.append(task_features.alignment_logits[0, 0].float().sigmoid().cpu())
    return HeadInternals(
        torch.stack(cls_weights).cpu(), torch.stack(box_weights).cpu(), offsets, alignment
    )


def draw_internals(
    image: np.ndarray, views: list[figures.ObjectView], internals: HeadInternals
) -> Figure:
    """Draws the layer attention of an image, and the offsets at its best classified anchors.

    Args:
        image: (H, W, 3), uint8 RGB, the input of the model.
        views: of the objects to draw.
        internals: of the image.
    """
    figure = Figure(
        figsize=(3 * figures.PANEL_WIDTH, 1.3 * figures.PANEL_WIDTH), layout="constrained"
    )
    axes = figure.subplot_mosaic([["image", "cls"], ["image", "box"]])
    ax = axes["image"]
    ax.imshow(image, extent=(0, image.shape[1], image.shape[0], 0))
    ax.set_title("offsets of the sides at the best classified anchors")
    for view in views:
        figures.draw_box(ax, view.gt_box, figures.GT_COLOR)
        if view.best is not None and internals.offsets:
            x, y = view.centers.view(-1, 2)[view.best[0]].tolist()
            offsets = internals.offsets[view.level].flatten(0, 1)[view.best[0]]
            dy, dx = (offsets * view.stride).T.numpy()
            # An arrow is as long in the image as it is in truth.
            scale = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.006}
            ax.quiver([x] * 4, [y] * 4, dx, dy, color=SIDE_COLORS.values(), **scale)
    figures.finish_axes(ax, image.shape)
    handles = [Patch(color=color, label=side) for side, color in SIDE_COLORS.items()]
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4)
    _draw_bars(axes["cls"], internals.cls_weights, "layer attention for classification")
    _draw_bars(axes["box"], internals.box_weights, "layer attention for localisation")
    axes["box"].set_xlabel("interactive layer")
    axes["cls"].legend(title="level", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _draw_bars(ax: Axes, weights: Tensor, title: str) -> None:
    num_levels, num_convs = weights.shape
    layers, width = torch.arange(1, num_convs + 1), 0.8 / num_levels
    for level, level_weights in enumerate(weights):
        left = layers + width * (level - num_levels / 2)
        ax.bar(left.numpy(), level_weights.numpy(), width, align="edge", label=str(level))
    ax.set(title=title, ylabel="weight", ylim=(0, 1), xticks=layers.tolist())


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
    centers = figures.anchor_centers(anchor_generator, predictions.level_sizes)
    values = predictions.class_scores(classes).cpu(), predictions.boxes.cpu(), centers
    scores, boxes, centers = (predictions.on_level(x, level) for x in values)
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
    extent = figures.map_extent(maps.centers, maps.stride)
    style = {"cmap": "inferno", "vmin": 0, "vmax": 1, "alpha": 0.7, "interpolation": "nearest"}
    picture.ax.imshow(values.numpy(), extent=extent, **style)
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
        figures.draw_box(ax, maps.boxes[cell], LOCATION_COLOR)
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
    figures.finish_axes(picture.ax, picture.img.shape)
    picture.ax.set_aspect("auto")  # fill the picture, whose sides are rounded
    return picture.get_image()
