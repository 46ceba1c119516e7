"""Predictions, alone and next to the ground truth."""

import numpy as np
from torch import Tensor

from detectron2.data import Metadata
from detectron2.structures import Boxes, Instances
from detectron2.utils.colormap import colormap
from detectron2.utils.visualizer import VisImage, Visualizer


def draw_detections(image: np.ndarray, instances: Instances, class_names: list[str]) -> VisImage:
    """Draws detections, those of a class always in the same colour.

    Args:
        image: (H, W, 3) uint8 RGB.
        instances: with ``pred_boxes`` in pixels of the image, ``scores`` and ``pred_classes``.
        class_names: of the classes.
    """
    metadata = Metadata(thing_classes=class_names)
    scores = [f" {100 * x:.0f}%" for x in instances.scores.tolist()]
    boxes, classes = instances.pred_boxes, instances.pred_classes
    return _overlay(Visualizer(image, metadata), boxes, classes, scores, metadata)


def draw_predictions(
    image: np.ndarray,
    instances: Instances,
    gt_instances: Instances,
    metadata: Metadata,
    score_thresh: float,
) -> np.ndarray:
    """Draws the predictions on the left and the ground truth on the right.

    A class has the same colour on both sides.

    Args:
        image: (H, W, 3) uint8 RGB.
        instances: with ``pred_boxes`` in pixels of the image, ``scores`` and ``pred_classes``.
        gt_instances: with ``gt_boxes`` in pixels of the image and ``gt_classes``.
        metadata: its ``thing_classes``, if it has any, name the classes.
        score_thresh: predictions with a lower score are left out.

    Returns:
        (H, 2 * W, 3) uint8 RGB.
    """
    instances = instances[instances.scores >= score_thresh].to("cpu")
    gt_instances = gt_instances.to("cpu")
    scores = [f" {100 * x:.0f}%" for x in instances.scores.tolist()]
    left = _draw(image, instances.pred_boxes, instances.pred_classes, scores, metadata)
    suffixes = [""] * len(gt_instances)
    right = _draw(image, gt_instances.gt_boxes, gt_instances.gt_classes, suffixes, metadata)
    return np.concatenate([left, right], axis=1)


def _draw(
    image: np.ndarray, boxes: Boxes, classes: Tensor, suffixes: list[str], metadata: Metadata
) -> np.ndarray:
    return _overlay(Visualizer(image, metadata), boxes, classes, suffixes, metadata).get_image()


def _overlay(
    visualizer: Visualizer,
    boxes: Boxes,
    classes: Tensor,
    suffixes: list[str],
    metadata: Metadata,
) -> VisImage:
    names, colors = metadata.get("thing_classes"), colormap(rgb=True, maximum=1)
    classes = classes.tolist()
    # Matplotlib would draw what is between two "$" as a formula.
    labels = [
        (names[cls] if names else str(cls)).replace("$", r"\$") + suffix
        for cls, suffix in zip(classes, suffixes, strict=True)
    ]
    return visualizer.overlay_instances(
        boxes=boxes.tensor.detach().numpy(),
        labels=labels,
        assigned_colors=[colors[cls % len(colors)] for cls in classes],
    )
