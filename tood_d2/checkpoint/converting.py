"""Conversion of files of weights between projects."""

import os
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .atomic import atomic_write
from .file import save_weights
from .official import convert_official_state_dict, convert_torchvision_state_dict


def recognize(state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Recognises by their names where weights come from, and gives them this project's names.

    Raises:
        ValueError: names the tensors that are of no known model.
    """
    if any(name.startswith("head.") or ".bottom_up." in name for name in state_dict):
        return state_dict
    if "layer1.0.conv1.weight" in state_dict:
        return convert_torchvision_state_dict(state_dict)
    return convert_official_state_dict(state_dict)


def save_converted(
    state_dict: Mapping[str, Tensor], path: str, class_names: Sequence[str], official: bool
) -> None:
    """Writes weights, whole or not at all.

    Args:
        state_dict: to write.
        path: of the file; one that ends in ``.safetensors`` is written by that package.
        class_names: of the model's classes, if they are known.
        official: whether the file is for the official code or MMDetection.
    """
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    if path.endswith(".safetensors"):
        from safetensors.torch import save

        with atomic_write(path) as file:
            file.write(save({name: tensor.contiguous() for name, tensor in state_dict.items()}))
    elif official:
        with atomic_write(path) as file:
            torch.save({"meta": {"CLASSES": list(class_names)}, "state_dict": state_dict}, file)
    else:
        save_weights(state_dict, path, class_names)
