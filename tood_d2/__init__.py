"""TOOD, task-aligned one-stage object detection, for Detectron2."""

from . import modeling  # noqa: F401  registers TOOD and its backbone
from .config import add_tood_config
from .modeling import TOOD

__version__ = "0.1.0"

__all__ = ["TOOD", "add_tood_config"]
