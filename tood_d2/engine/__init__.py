from .checkpointing import fetch_weights, load_weights
from .config import build_model, load_config
from .datasets import (
    annotated_test_data,
    class_names,
    count_training_images,
    register_datasets,
)
from .evaluation import evaluate
from .launching import launch
from .predictor import Predictor
from .schedule import fit_schedule
from .seeding import fix_seed
from .training import Trainer, train

__all__ = [
    "Predictor",
    "Trainer",
    "annotated_test_data",
    "build_model",
    "class_names",
    "count_training_images",
    "evaluate",
    "fetch_weights",
    "fit_schedule",
    "fix_seed",
    "launch",
    "load_config",
    "load_weights",
    "register_datasets",
    "train",
]
