from .catalog import OFFICIAL_MODELS, TRAINED_MODELS, save_weights
from .checkpointer import SafeCheckpointer
from .file import load_class_names, load_state_dict, read_checkpoint
from .official import (
    convert_official_state_dict,
    convert_to_official_state_dict,
    load_official_checkpoint,
)
from .torchvision import convert_torchvision_state_dict
from .trained_weights import fetch_weights, load_weights

__all__ = [
    "OFFICIAL_MODELS",
    "SafeCheckpointer",
    "TRAINED_MODELS",
    "convert_official_state_dict",
    "convert_to_official_state_dict",
    "convert_torchvision_state_dict",
    "fetch_weights",
    "load_class_names",
    "load_official_checkpoint",
    "load_state_dict",
    "load_weights",
    "read_checkpoint",
    "save_weights",
]
