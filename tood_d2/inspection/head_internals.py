"""What happens inside a task-aligned head: layer attention, score alignment and learned offsets.

L levels of Hi x Wi locations, ``num_convs`` interactive layers.
"""

from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from detectron2.modeling.meta_arch.dense_detector import DenseDetector

from ..modeling.heads.task_decomposition import pool_layers
from .alignment_figures import GT_COLOR, PANEL_WIDTH, ObjectView, draw_box, finish_axes

SIDE_COLORS = {"left": "deepskyblue", "top": "magenta", "right": "orange", "bottom": "springgreen"}


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


def draw_internals(image: np.ndarray, views: list[ObjectView], internals: HeadInternals) -> Figure:
    """Draws the layer attention of an image, and the offsets at its best classified anchors.

    Args:
        image: (H, W, 3), uint8 RGB, the input of the model.
        views: of the objects to draw.
        internals: of the image.
    """
    figure = Figure(figsize=(3 * PANEL_WIDTH, 1.3 * PANEL_WIDTH), layout="constrained")
    axes = figure.subplot_mosaic([["image", "cls"], ["image", "box"]])
    ax = axes["image"]
    ax.imshow(image, extent=(0, image.shape[1], image.shape[0], 0))
    ax.set_title("offsets of the sides at the best classified anchors")
    for view in views:
        draw_box(ax, view.gt_box, GT_COLOR)
        if view.best is not None and internals.offsets:
            x, y = view.centers.view(-1, 2)[view.best[0]].tolist()
            offsets = internals.offsets[view.level].flatten(0, 1)[view.best[0]]
            dy, dx = (offsets * view.stride).T.numpy()
            # An arrow is as long in the image as it is in truth.
            scale = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.006}
            ax.quiver([x] * 4, [y] * 4, dx, dy, color=SIDE_COLORS.values(), **scale)
    finish_axes(ax, image.shape)
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
