from .coco_json import register_coco_json
from .filtering import get_training_dicts

__all__ = ["get_training_dicts", "register_coco_json"]
