from .augmentation_of_config import with_tta
from .dense_predictions import (
    DensePredictions,
    check_supported,
    dense_predictions,
    scores_and_boxes,
)
from .dense_predictor import DensePredictor, ImagePredictions
from .predictor import Predictor
from .trained_models import TrainedModel, find_trained_models

__all__ = [
    "DensePredictions",
    "DensePredictor",
    "ImagePredictions",
    "Predictor",
    "TrainedModel",
    "check_supported",
    "dense_predictions",
    "find_trained_models",
    "scores_and_boxes",
    "with_tta",
]
