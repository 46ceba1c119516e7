from .alignment_evaluator import AlignmentEvaluator
from .coco_evaluator import IllustratedCOCOEvaluator
from .coco_results import coco_results
from .dense_predictions import (
    DensePredictions,
    check_supported,
    dense_predictions,
    scores_and_boxes,
)

__all__ = [
    "AlignmentEvaluator",
    "DensePredictions",
    "IllustratedCOCOEvaluator",
    "check_supported",
    "coco_results",
    "dense_predictions",
    "scores_and_boxes",
]
