from .coco.registration import register_coco_json
from .loading.filtering import get_training_dicts
from .loading.loader import build_test_loader, build_train_loader

__all__ = [
    "build_test_loader",
    "build_train_loader",
    "get_training_dicts",
    "register_coco_json",
]
