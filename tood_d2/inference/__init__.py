from .dense_predictions import (
    DensePredictions,
    check_supported,
    dense_predictions,
    scores_and_boxes,
)
from .dense_predictor import DensePredictor
from .predictor import Predictor, load_detector
from .trained_models import TrainedModel, find_trained_models

__all__ = [
    "DensePredictions",
    "DensePredictor",
    "Predictor",
    "TrainedModel",
    "check_supported",
    "dense_predictions",
    "find_trained_models",
    "load_detector",
    "scores_and_boxes",
]
