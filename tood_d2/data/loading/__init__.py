from .filtering import get_training_dicts
from .loader import build_test_loader, build_train_loader
from .mapper import DatasetMapper
from .mixing import CopyPaste, Mosaic

__all__ = [
    "CopyPaste",
    "DatasetMapper",
    "Mosaic",
    "build_test_loader",
    "build_train_loader",
    "get_training_dicts",
]
