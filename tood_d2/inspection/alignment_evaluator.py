"""Task alignment over a data set."""

import math
from collections import Counter
from statistics import fmean

from detectron2.structures import Instances

from ..inference.dense_predictions import DensePredictions
from .alignment import InstancePredictions, count_detections, predictions_of_instances


class AlignmentEvaluator:
    """Collects what the paper's Table 6 says of a detector.

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
        device = predictions.boxes.device
        gt_boxes, gt_classes = gt.gt_boxes.tensor.to(device), gt.gt_classes.to(device)
        self.instances += [
            InstancePredictions(x.scores.cpu(), x.ious.cpu())
            for x in predictions_of_instances(
                predictions.scores, predictions.boxes, gt_boxes, gt_classes
            )
        ]
        counts = count_detections(
            detections.pred_boxes.tensor.to(device),
            detections.pred_classes.to(device),
            gt_boxes,
            gt_classes,
        )
        self._counts.update(counts._asdict())

    def summarize(self) -> dict:
        """Results of all images so far, ready for JSON.

        Returns:
            ``pcc`` and ``iou``: means over the instances, None without any. Instances without
                a PCC are left out of its mean; those that nothing overlaps have an IoU of 0.
            ``correct``, ``redundant``, ``error``: numbers of detections.
            ``num_instances``, ``num_instances_without_pcc``.
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
