"""From images to detections: predictors, ensembles, optimised models."""

from .dense_predictions import (
    DensePredictions,
    check_supported,
    dense_predictions,
    scores_and_boxes,
)
from .dense_predictor import DensePredictor
from .ensemble import EnsemblePredictor, load_ensemble
from .merging import Merging
from .predictor import Predictor, load_detector, with_tta
from .trained_models import TrainedModel, find_trained_model, find_trained_models

__all__ = [
    "DensePredictions",
    "DensePredictor",
    "EnsemblePredictor",
    "Merging",
    "Predictor",
    "TrainedModel",
    "check_supported",
    "dense_predictions",
    "find_trained_model",
    "find_trained_models",
    "load_detector",
    "load_ensemble",
    "scores_and_boxes",
    "with_tta",
]
