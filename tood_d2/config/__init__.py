from .datasets import (
    annotated_test_data,
    category_ids,
    class_names,
    count_training_images,
    register_datasets,
    training_data,
)
from .loading import build_model, load_config
from .schedule import fit_schedule

__all__ = [
    "annotated_test_data",
    "build_model",
    "category_ids",
    "class_names",
    "count_training_images",
    "fit_schedule",
    "load_config",
    "register_datasets",
    "training_data",
]
