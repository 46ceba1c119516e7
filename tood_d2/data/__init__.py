from .coco_json import register_coco_json
from .filtering import get_training_dicts
from .loading import build_test_loader, build_train_loader

__all__ = ["build_test_loader", "build_train_loader", "get_training_dicts", "register_coco_json"]
