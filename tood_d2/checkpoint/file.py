"""Reading of weights from files, without executing anything in them."""

import os

import numpy as np
import torch
from torch import Tensor

from .restricted_pickle import load_pickle
from .torch_file import load_torch_file


def read_checkpoint(path: str | os.PathLike) -> dict:
    """Reads any checkpoint file, which may come from a stranger.

    Args:
        path: of a ``.safetensors`` file, of a ``.pkl`` file of Detectron2's zoo, Detectron or
            Caffe2, or of a ``torch.save`` file.

    Returns:
        Its content: plain values, tensors on the CPU and NumPy arrays.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is none of these, or holds other objects.
    """
    extension = os.path.splitext(path)[1]
    if extension == ".safetensors":
        return _load_safetensors(path)
    checkpoint = load_pickle(path) if extension == ".pkl" else load_torch_file(path)
    if not isinstance(checkpoint, dict):
        raise ValueError("holds no state dict")
    return checkpoint


def load_state_dict(path: str) -> dict[str, Tensor]:
    """Reads the weights in a file.

    Args:
        path: see :func:`read_checkpoint`. The state dict is all that the file holds, or under the
            key "state_dict" (MMDetection) or "model" (Detectron2).

    Raises:
        FileNotFoundError, ValueError: see :func:`read_checkpoint`. ValueError as well if there
            are no weights.
    """
    checkpoint = read_checkpoint(path)
    state_dict = checkpoint
    for key in ("state_dict", "model"):
        if isinstance(checkpoint.get(key), dict):
            state_dict = checkpoint[key]
    tensors = {
        name: torch.as_tensor(x)
        for name, x in state_dict.items()
        if isinstance(x, Tensor | np.ndarray)
    }
    if not tensors:
        raise ValueError("holds no weights")
    return tensors


def load_class_names(path: str) -> list[str]:
    """Reads the names of the classes that the weights in a file were trained for.

    Args:
        path: see :func:`read_checkpoint`.

    Returns:
        The names in the order of the classes; empty if the file does not tell.

    Raises:
        FileNotFoundError, ValueError: see :func:`read_checkpoint`.
    """
    checkpoint = read_checkpoint(path)
    for keys in (("class_names",), ("meta", "CLASSES"), ("meta", "dataset_meta", "classes")):
        names = checkpoint
        for key in keys:
            names = names.get(key) if isinstance(names, dict) else None
        if isinstance(names, list | tuple) and all(isinstance(x, str) for x in names):
            return list(names)
    return []


def _load_safetensors(path: str | os.PathLike) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise ValueError("reading it takes the package safetensors: pip install it") from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"no safetensors file: {error}") from error
