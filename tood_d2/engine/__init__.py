from .checkpointing import fetch_weights, load_weights
from .config import build_model, load_config
from .datasets import (
    annotated_test_data,
    category_ids,
    class_names,
    count_training_images,
    register_datasets,
    training_data,
)
from .dense_predictor import DensePredictor, ImagePredictions
from .evaluation import evaluate
from .image_analysis import HeadPictures, ImageAnalysis
from .launching import launch
from .predictor import Predictor
from .schedule import fit_schedule
from .seeding import fix_seed
from .test_time_augmentation import with_tta
from .trained_models import TrainedModel, find_trained_models
from .training import Trainer, train

__all__ = [
    "DensePredictor",
    "HeadPictures",
    "ImageAnalysis",
    "ImagePredictions",
    "Predictor",
    "TrainedModel",
    "Trainer",
    "annotated_test_data",
    "build_model",
    "category_ids",
    "class_names",
    "count_training_images",
    "evaluate",
    "fetch_weights",
    "find_trained_models",
    "fit_schedule",
    "fix_seed",
    "launch",
    "load_config",
    "load_weights",
    "register_datasets",
    "train",
    "training_data",
    "with_tta",
]
