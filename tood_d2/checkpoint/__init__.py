"""Weights: reading, writing, resuming, the names of other projects."""

from .catalog import OFFICIAL_MODELS, TRAINED_MODELS
from .checkpointer import SafeCheckpointer
from .file import find_class_names, find_state_dict, read_checkpoint, save_weights
from .official import (
    convert_official_state_dict,
    convert_to_official_state_dict,
    convert_torchvision_state_dict,
    recognize,
)
from .trained_weights import fetch_weights, load_weights

__all__ = [
    "OFFICIAL_MODELS",
    "SafeCheckpointer",
    "TRAINED_MODELS",
    "convert_official_state_dict",
    "convert_to_official_state_dict",
    "convert_torchvision_state_dict",
    "fetch_weights",
    "find_class_names",
    "find_state_dict",
    "load_weights",
    "read_checkpoint",
    "recognize",
    "save_weights",
]
