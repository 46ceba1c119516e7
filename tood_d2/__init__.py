"""TOOD, task-aligned one-stage object detection, for Detectron2."""

from . import checkpoint, modeling  # noqa: F401  they register weights, TOOD and its backbone
from .config.keys import add_tood_config
from .inference.optimization import optimize_for_inference
from .modeling import TOOD

__version__ = "0.1.0"

__all__ = ["TOOD", "add_tood_config", "optimize_for_inference"]
