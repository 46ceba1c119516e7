from .filtering import get_training_dicts
from .loader import build_test_loader, build_train_loader

__all__ = ["build_test_loader", "build_train_loader", "get_training_dicts"]
