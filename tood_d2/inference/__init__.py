from .augmentation import DenseDetectorWithTTA, build_tta_mapper
from .dense_predictions import (
    DensePredictions,
    check_supported,
    dense_predictions,
    scores_and_boxes,
)
from .dense_predictor import DensePredictor, ImagePredictions
from .optimization import optimize_for_inference
from .predictor import ImagePredictor, Predictor, load_detector
from .trained_models import TrainedModel, find_trained_models

__all__ = [
    "DenseDetectorWithTTA",
    "DensePredictions",
    "DensePredictor",
    "ImagePredictions",
    "ImagePredictor",
    "Predictor",
    "TrainedModel",
    "build_tta_mapper",
    "check_supported",
    "dense_predictions",
    "find_trained_models",
    "load_detector",
    "optimize_for_inference",
    "scores_and_boxes",
]
