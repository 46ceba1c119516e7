"""Where a detector classifies and where it localises an object best (Fig. 1 and 4 of the paper).

L levels of Hi x Wi locations with Ai anchors each, R anchors in all levels, M ground-truth
objects, K classes. Boxes are XYXY; boxes and centres are in pixels of the network input.

The paper shows "the level" of an object and the best anchors on it. Here the candidates of an
object are the anchors centred inside it whose boxes overlap no other object of its class more, so
that a neighbour's anchors never win. The level is that of the candidate with the highest score,
and both best anchors are candidates on it. An object without candidates has no best anchors.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.structures import Boxes, Instances, pairwise_iou

from ..inference import DensePredictions
from .alignment import match_instances

GT_COLOR = "gold"
# Of the best anchors for classification and for localisation. Where the two are the same, one
# remains visible behind the other.
BEST_STYLES = (
    ("best classified", "red", "-", {"marker": "s", "markersize": 12}),
    ("best localised", "limegreen", "--", {"marker": "P", "markersize": 9}),
)
PANEL_WIDTH = 4.5  # inches


class ObjectView(NamedTuple):
    """What a detector predicts for one object, on the level where it classifies it best."""

    gt_box: Tensor
    """(4,) of the object."""
    level: int
    stride: int
    scores: Tensor
    """(Hi, Wi, Ai) for the class of the object."""
    ious: Tensor
    """(Hi, Wi, Ai) of the predicted boxes with the object."""
    boxes: Tensor
    """(Hi, Wi, Ai, 4) predicted."""
    centers: Tensor
    """(Hi, Wi, Ai, 2) of the anchors, (x, y)."""
    best: tuple[int, int] | None
    """Indices into the flattened maps of the candidates with the highest score and with the highest
    IoU, the first among equals; None without candidates."""


def anchor_generator_of(model: DenseDetector) -> DefaultAnchorGenerator:
    """FCOS and RetinaNet own their anchors, TOOD leaves them to its head."""
    return (model if hasattr(model, "anchor_generator") else model.head).anchor_generator


def anchor_centers(
    anchor_generator: DefaultAnchorGenerator, level_sizes: list[tuple[int, int, int]]
) -> Tensor:
    """Centres (R, 2), (x, y), on the CPU, of the anchors of levels with these (Hi, Wi, Ai)."""
    maps = [torch.empty(1, 1, height, width) for height, width, _ in level_sizes]
    return Boxes.cat(anchor_generator(maps)).get_centers().cpu()


def view_object(
    predictions: DensePredictions,
    anchor_generator: DefaultAnchorGenerator,
    gt: Instances,
    index: int,
) -> ObjectView:
    """Chooses what to show of one object.

    Args:
        predictions: of the image.
        anchor_generator: of the model, see :func:`anchor_generator_of`.
        gt: M objects with ``gt_boxes`` and ``gt_classes``.
        index: of the object.

    Returns:
        The view, on the CPU. Without candidates it is of the finest level, as the object is tiny.
    """
    gt_boxes, gt_classes = gt.gt_boxes.tensor.cpu(), gt.gt_classes.cpu()
    gt_box, gt_class = gt_boxes[index], gt_classes[index]
    scores, boxes = predictions.scores[:, gt_class].cpu(), predictions.boxes.cpu()
    ious = pairwise_iou(Boxes(boxes), Boxes(gt_box[None])).squeeze(1)

    sizes = predictions.level_sizes
    centers = anchor_centers(anchor_generator, sizes)
    inside = ((centers > gt_box[:2]) & (centers < gt_box[2:])).all(dim=1)
    _, matched_idxs = match_instances(boxes, gt_class.expand(len(boxes)), gt_boxes, gt_classes)
    candidates = inside & (matched_idxs == index)

    best_score = scores.where(candidates, -1).argmax()
    ends = torch.tensor(sizes).prod(dim=1).cumsum(0)
    level = torch.searchsorted(ends, best_score, right=True).item()
    scores, ious, boxes, centers, candidates = (
        predictions.on_level(x, level) for x in (scores, ious, boxes, centers, candidates)
    )
    best = tuple(x.where(candidates, -1).argmax().item() for x in (scores, ious))
    stride, best = anchor_generator.strides[level], best if candidates.any() else None
    return ObjectView(gt_box, level, stride, scores, ious, boxes, centers, best)


def draw_object(rows: list[tuple[str, np.ndarray, ObjectView]], title: str) -> Figure:
    """Draws one object as one or several models see it.

    A row has the image with the object (yellow) and the boxes that are predicted at the best
    anchor for classification (red) and at that for localisation (green); the score map; the IoU
    map. A location with several anchors has the highest value of them; grey is where the map has
    no location.

    Args:
        rows: for each model its name, its input image (H, W, 3), uint8 RGB, and its view.
        title: of the figure.
    """
    height, width, _ = rows[0][1].shape
    row_height = PANEL_WIDTH * min(height / width, 1.5) + 1.2  # with titles and legend
    figure = Figure(figsize=(3 * PANEL_WIDTH, len(rows) * row_height), layout="constrained")
    figure.suptitle(title, fontsize="x-large")
    subfigures = figure.subfigures(len(rows), squeeze=False).flat
    for subfigure, (name, image, view) in zip(subfigures, rows, strict=True):
        subfigure.suptitle(name)
        left, middle, right = axes = subfigure.subplots(1, 3)
        left.imshow(image, extent=(0, image.shape[1], image.shape[0], 0))
        extent = map_extent(view.centers[:, :, 0], view.stride)
        for ax, values, vmax in ((middle, view.scores, None), (right, view.ious, 1)):
            values = values.amax(dim=2).numpy()
            picture = ax.imshow(values, cmap="bone", extent=extent, vmin=0, vmax=vmax)
            subfigure.colorbar(picture, ax=ax, shrink=0.7)
        middle.set_title("score, {} x {} locations".format(*view.scores.shape))
        right.set_title(f"IoU, stride {view.stride}")
        for ax in axes:
            draw_box(ax, view.gt_box, GT_COLOR, label="ground truth")
            finish_axes(ax, image.shape)
        _draw_best(axes, view)
        left.legend(loc="upper center", bbox_to_anchor=(0.5, 0), frameon=False)
    return figure


def _draw_best(axes: Sequence[Axes], view: ObjectView) -> None:
    """Draws the best anchors on all axes, and their boxes on the first."""
    if view.best is None:
        axes[0].plot([], [], " ", label="no anchor inside predicts it")
    for best, (name, color, linestyle, marker) in zip(view.best or (), BEST_STYLES, strict=False):
        x, y = view.centers.view(-1, 2)[best].tolist()
        for ax in axes:
            ax.plot(x, y, color=color, markeredgecolor="white", **marker)
        score, iou = view.scores.flatten()[best], view.ious.flatten()[best]
        label = f"{name}: score {score:.2f}, IoU {iou:.2f}"
        draw_box(axes[0], view.boxes.view(-1, 4)[best], color, linestyle=linestyle, label=label)


def map_extent(centers: Tensor, stride: int) -> tuple[float, ...]:
    """Left, right, bottom and top of a map whose cells lie around their centres (Hi, Wi, 2)."""
    left, top = (centers[0, 0] - stride / 2).tolist()
    height, width, _ = centers.shape
    return left, left + width * stride, top + height * stride, top


def draw_box(ax: Axes, box: Tensor, color: str, **kwargs) -> None:
    """Draws the outline of a box (4,)."""
    x1, y1, x2, y2 = box.tolist()
    style = {"fill": False, "linewidth": 2, "edgecolor": color, **kwargs}
    ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **style))


def finish_axes(ax: Axes, image_shape: tuple[int, ...]) -> None:
    """Limits the axes to an image of shape (H, W, 3)."""
    height, width, _ = image_shape
    ax.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], facecolor="lightgray")
