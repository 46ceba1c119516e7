"""How well classification and localisation agree (Table 6 of the paper).

R dense predictions with scores (R, K) and boxes (R, 4), D detections with boxes (D, 4) and
classes (D,), M instances (ground-truth objects) with ``gt_boxes`` (M, 4) and ``gt_classes`` (M,),
K classes. Classes are int64, boxes XYXY in pixels.

The paper leaves open which predictions are those of an instance. Here a prediction of a class
belongs to the instance of this class that its box overlaps most, so what a detector predicts
for an object does not count for its neighbour as well.
"""

import math
from collections import Counter
from collections.abc import Iterable
from statistics import fmean
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from tabulate import tabulate
from torch import Tensor, nn
from tqdm import tqdm

from detectron2.structures import Boxes, Instances, pairwise_iou

from ..inference.dense_predictions import DensePredictions, dense_predictions

NUM_RANKED = 50
NUM_AVERAGED = 10
NO_INSTANCE = -1
COLUMNS = {
    "pcc": "PCC (top-50)",
    "iou": "IoU (top-10)",
    "correct": "#Correct boxes",
    "redundant": "#Redundant boxes",
    "error": "#Error boxes",
    "num_instances": "#Instances",
}
MAX_POINTS = 5000  # of the figure


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


class AlignmentEvaluator:
    """Collects what the paper's Table 6 says of a detector over a data set.

    Attributes:
        instances: the most confident predictions of each ground-truth instance so far.
    """

    def __init__(self):
        self.instances: list[InstancePredictions] = []
        self._counts = Counter(correct=0, redundant=0, error=0)

    def add(self, predictions: DensePredictions, detections: Instances, gt: Instances) -> None:
        """Adds an image.

        Args:
            predictions: before NMS.
            detections: after NMS, with ``pred_boxes`` and ``pred_classes``.
            gt: with ``gt_boxes`` and ``gt_classes``. All boxes are in pixels of the network input.
        """
        scores, boxes, *_ = predictions
        detections, gt = detections.to(boxes.device), gt.to(boxes.device)
        objects = gt.gt_boxes.tensor, gt.gt_classes
        self.instances += predictions_of_instances(scores, boxes, *objects)
        found = detections.pred_boxes.tensor, detections.pred_classes
        self._counts.update(count_detections(*found, *objects))

    def summarize(self) -> dict:
        """Results of all images so far, ready for JSON.

        Returns:
            ``pcc`` and ``iou``: means over the instances, None without any. Instances without
                a PCC are left out of its mean; those that nothing overlaps have an IoU of 0.
            ``correct``, ``redundant``, ``error``: see :func:`count_detections`.
            ``num_instances``, ``num_instances_without_pcc``: numbers of instances.
            ``instance_pcc``, ``instance_iou``: lists of the instances' own, None for no PCC.
        """
        pccs = [None if math.isnan(pcc := x.pcc) else pcc for x in self.instances]
        ious = [x.iou for x in self.instances]
        known = [x for x in pccs if x is not None]
        return {
            "pcc": fmean(known) if known else None,
            "iou": fmean(ious) if ious else None,
            **self._counts,
            "num_instances": len(ious),
            "num_instances_without_pcc": len(pccs) - len(known),
            "instance_pcc": pccs,
            "instance_iou": ious,
        }


@torch.no_grad()
def analyze(model: nn.Module, loader: Iterable[list[dict]]) -> AlignmentEvaluator:
    """Runs the model over the data, twice: for its dense predictions and for its detections."""
    evaluator = AlignmentEvaluator()
    for batch in tqdm(loader, unit="batch"):
        # Without a size to scale them to, detections stay in pixels of the network input.
        images = [{"image": x["image"]} for x in batch]
        for predictions, output, sample in zip(
            dense_predictions(model, images), model(images), batch, strict=True
        ):
            evaluator.add(predictions, output["instances"], sample["instances"])
    return evaluator


def draw_alignment(evaluator: AlignmentEvaluator, summary: dict) -> Figure:
    """Left the instances' PCC, right the IoU of predictions against their score."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    pccs = [x for x in summary["instance_pcc"] if x is not None]
    left.hist(pccs, bins=40, range=(-1, 1))
    if pccs:
        left.axvline(summary["pcc"], color="black", label=f"mean {summary['pcc']:.3f}")
        left.legend()
    left.set(xlabel="PCC of the 50 most confident predictions", ylabel="instances")
    points = torch.cat([torch.zeros(0, 2), *(torch.stack(x, 1) for x in evaluator.instances)])
    chosen = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:MAX_POINTS]
    right.scatter(*points[chosen].T.numpy(), s=4, alpha=0.3, linewidths=0)
    right.set(xlabel="score", ylabel="IoU", xlim=(0, 1), ylim=(0, 1))
    return figure


def format_table(summary: dict) -> str:
    """The columns of Table 6 as Markdown."""
    cells = [summary[key] for key in COLUMNS]
    return tabulate([cells], COLUMNS.values(), "github", floatfmt=".3f", missingval="–")


def match_instances(
    boxes: Tensor, classes: Tensor, gt_boxes: Tensor, gt_classes: Tensor
) -> tuple[Tensor, Tensor]:
    """Finds the instance of its class that each of D boxes overlaps most.

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
    """Finds the most confident predictions of each of the M instances, on the CPU."""
    matches = {}
    for cls in gt_classes.unique().tolist():
        classes = gt_classes.new_full((len(boxes),), cls)
        matches[cls] = match_instances(boxes, classes, gt_boxes, gt_classes)
    instances = []
    for i, cls in enumerate(gt_classes.tolist()):
        ious, matched_idxs = matches[cls]
        own = (matched_idxs == i).nonzero().squeeze(1)
        best = own[scores[own, cls].argsort(descending=True, stable=True)[:NUM_RANKED]]
        instances.append(InstancePredictions(scores[best, cls].cpu(), ious[best].cpu()))
    return instances


def count_detections(
    pred_boxes: Tensor, pred_classes: Tensor, gt_boxes: Tensor, gt_classes: Tensor
) -> dict[str, int]:
    """Counts what detections are, each judged by its instance, see :func:`match_instances`.

    Which detection of an instance is the first makes no difference to the numbers, so the
    scores are not needed.

    Returns:
        ``correct``: the first of each instance with an IoU of at least 0.5.
        ``redundant``: further ones with an IoU of at least 0.5.
        ``error``: those with an IoU between 0.1 and 0.5, both excluded.
    """
    ious, matched_idxs = match_instances(pred_boxes, pred_classes, gt_boxes, gt_classes)
    hits = matched_idxs[ious >= 0.5]
    correct = len(hits.unique())
    error = ((ious > 0.1) & (ious < 0.5)).sum().item()
    return {"correct": correct, "redundant": len(hits) - correct, "error": error}


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
