from .alignment_evaluator import AlignmentEvaluator
from .dense_predictions import (
    DensePredictions,
    check_supported,
    dense_predictions,
    scores_and_boxes,
)

__all__ = [
    "AlignmentEvaluator",
    "DensePredictions",
    "check_supported",
    "dense_predictions",
    "scores_and_boxes",
]
