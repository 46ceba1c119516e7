"""How well classification and localisation agree in one image (Table 6 of the paper).

R dense predictions, D detections, M instances (ground-truth objects), K classes. Boxes are XYXY
in pixels.

The paper leaves open which predictions are those of an instance. Here a prediction of a class
belongs to the instance of this class that its box overlaps most, so what a detector predicts
for an object does not count for its neighbour as well.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from detectron2.structures import Boxes, pairwise_iou

NUM_RANKED = 50
NUM_AVERAGED = 10
NO_INSTANCE = -1


class InstancePredictions(NamedTuple):
    """The most confident predictions of one instance, by falling score."""

    scores: Tensor
    """(P,) for the class of the instance, P at most ``NUM_RANKED``."""
    ious: Tensor
    """(P,) with the instance, greater than 0."""

    @property
    def pcc(self) -> float:
        """Pearson correlation of the rankings by score and by IoU, NaN if there is none."""
        return rank_correlation(self.scores, self.ious)

    @property
    def iou(self) -> float:
        """Mean IoU of the first ``NUM_AVERAGED``, 0 for an instance that nothing overlaps."""
        return self.ious[:NUM_AVERAGED].mean().item() if len(self.ious) else 0.0


class DetectionCounts(NamedTuple):
    """What detections are, each judged by its instance, see :func:`match_instances`."""

    correct: int
    """The first of each instance with an IoU of at least 0.5."""
    redundant: int
    """Further ones with an IoU of at least 0.5."""
    error: int
    """Those with an IoU between 0.1 and 0.5, both excluded."""


def match_instances(
    boxes: Tensor, classes: Tensor, gt_boxes: Tensor, gt_classes: Tensor
) -> tuple[Tensor, Tensor]:
    """Finds the instance of its class that each box overlaps most.

    Args:
        boxes: (D, 4).
        classes: (D,) int64.
        gt_boxes: (M, 4).
        gt_classes: (M,) int64.

    Returns:
        ious: (D,) with that instance, 0 where there is none.
        matched_idxs: (D,) int64, its index, ``NO_INSTANCE`` where there is none.
    """
    if len(gt_boxes) == 0:
        return boxes.new_zeros(len(boxes)), torch.full_like(classes, NO_INSTANCE)
    ious = pairwise_iou(Boxes(boxes), Boxes(gt_boxes))
    ious[classes[:, None] != gt_classes] = 0
    ious, matched_idxs = ious.max(dim=1)
    matched_idxs[ious == 0] = NO_INSTANCE
    return ious, matched_idxs


def predictions_of_instances(
    scores: Tensor, boxes: Tensor, gt_boxes: Tensor, gt_classes: Tensor
) -> list[InstancePredictions]:
    """Finds the most confident predictions of each instance.

    Args:
        scores: (R, K).
        boxes: (R, 4).
        gt_boxes: (M, 4).
        gt_classes: (M,) int64.

    Returns:
        M instances' predictions.
    """
    matches = {}
    for cls in gt_classes.unique().tolist():
        classes = gt_classes.new_full((len(boxes),), cls)
        matches[cls] = match_instances(boxes, classes, gt_boxes, gt_classes)
    instances = []
    for i, cls in enumerate(gt_classes.tolist()):
        ious, matched_idxs = matches[cls]
        own = (matched_idxs == i).nonzero().squeeze(1)
        best = own[scores[own, cls].argsort(descending=True, stable=True)[:NUM_RANKED]]
        instances.append(InstancePredictions(scores[best, cls], ious[best]))
    return instances


def count_detections(
    pred_boxes: Tensor, pred_classes: Tensor, gt_boxes: Tensor, gt_classes: Tensor
) -> DetectionCounts:
    """Counts correct, redundant and erroneous detections.

    Which detection of an instance is the first makes no difference to the numbers, so the
    scores are not needed.

    Args:
        pred_boxes: (D, 4).
        pred_classes: (D,) int64.
        gt_boxes: (M, 4).
        gt_classes: (M,) int64.
    """
    ious, matched_idxs = match_instances(pred_boxes, pred_classes, gt_boxes, gt_classes)
    hits = matched_idxs[ious >= 0.5]
    correct = len(hits.unique())
    error = ((ious > 0.1) & (ious < 0.5)).sum().item()
    return DetectionCounts(correct, len(hits) - correct, error)


def rank_correlation(x: Tensor, y: Tensor) -> float:
    """Pearson correlation of the ranks of two sequences (n,), Spearman's coefficient.

    It is NaN for fewer than two values and where all values of a sequence are equal.
    """
    x, y = average_ranks(x), average_ranks(y)
    x, y = x - x.mean(), y - y.mean()
    return (x @ y / (x.square().sum() * y.square().sum()).sqrt()).item()


def average_ranks(values: Tensor) -> Tensor:
    """Ranks (n,) float64 of values (n,), from 1 up; equal values share the mean of theirs."""
    _, group, counts = values.unique(return_inverse=True, return_counts=True)
    last_ranks = counts.cumsum(0).double()
    return (last_ranks - (counts - 1) / 2)[group]
