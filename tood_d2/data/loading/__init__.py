from .filtering import get_training_dicts
from .loader import build_test_loader, build_train_loader
from .mapper import DatasetMapper

__all__ = ["DatasetMapper", "build_test_loader", "build_train_loader", "get_training_dicts"]
