"""Predictions next to the ground truth."""

import numpy as np
from torch import Tensor

from detectron2.data import Metadata
from detectron2.structures import Boxes, Instances
from detectron2.utils.colormap import colormap
from detectron2.utils.visualizer import Visualizer


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
    names, colors = metadata.get("thing_classes"), colormap(rgb=True, maximum=1)
    classes = classes.tolist()
    labels = [
        (names[cls] if names else str(cls)) + suffix
        for cls, suffix in zip(classes, suffixes, strict=True)
    ]
    visualizer = Visualizer(image, metadata)
    output = visualizer.overlay_instances(
        boxes=boxes.tensor.detach().numpy(),
        labels=labels,
        assigned_colors=[colors[cls % len(colors)] for cls in classes],
    )
    return output.get_image()
