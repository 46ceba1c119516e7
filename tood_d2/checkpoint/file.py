"""Files of weights."""

import errno
import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from .atomic import atomic_write
from .unpickling import UnknownObject, load_pickle, load_torch_file


def read_checkpoint(path: str | os.PathLike) -> dict:
    """Reads any checkpoint file, which may come from a stranger.

    Args:
        path: of a ``.safetensors`` file, of a ``.pkl`` file of Detectron2's zoo, Detectron or
            Caffe2, or of a ``torch.save`` file.

    Returns:
        Its content: plain values, tensors on the CPU and NumPy arrays.

    Raises:
        OSError: if the file cannot be opened.
        ValueError: if it is none of these, damaged, or holds other objects.
    """
    if not os.path.isfile(path):  # opening a named pipe would wait for ever
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
    extension = os.path.splitext(path)[1]
    if extension == ".safetensors":
        try:
            from safetensors import SafetensorError
            from safetensors.torch import load_file
        except ImportError as error:
            raise ValueError("reading it takes the package safetensors: pip install it") from error
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"no safetensors file: {error}") from error
    checkpoint = load_pickle(path) if extension == ".pkl" else load_torch_file(path)
    if not isinstance(checkpoint, dict):
        raise ValueError(f"holds no state dict but a {type(checkpoint).__name__}")
    return checkpoint


def check_state_dict(state_dict: dict) -> None:
    """Makes sure that a state dict holds tensors or NumPy arrays by name, and nothing else.

    Raises:
        ValueError: if not, with what is in the place of a tensor.
    """
    if not isinstance(state_dict, dict):
        raise ValueError(f"has a {type(state_dict).__name__} for a state dict")
    for name, value in state_dict.items():
        if not isinstance(name, str) or not isinstance(value, Tensor | np.ndarray):
            raise ValueError(f"has a {type(value).__name__} for the tensor {name!r}")


def find_state_dict(checkpoint: dict) -> dict[str, Tensor]:
    """Finds the weights in the content of a file.

    Args:
        checkpoint: the state dict itself, or with it under the key "model" (Detectron2) or
            "state_dict" (MMDetection).

    Raises:
        ValueError: if there are no weights, or an object that is not loaded is in their place.
    """
    nested = [checkpoint.get(key) for key in ("model", "state_dict")]
    state_dict = next((x for x in nested if isinstance(x, dict)), checkpoint)
    tensors = {}
    for name, value in state_dict.items():
        if isinstance(value, UnknownObject):
            raise ValueError(f"has a {type(value).__name__} for the tensor {name!r}")
        if isinstance(value, Tensor | np.ndarray):
            tensors[name] = torch.as_tensor(value)
    if not tensors:
        keys = ", ".join(ascii(key) for key in list(checkpoint)[:10])
        raise ValueError(f"holds no weights as such, or as 'model' or 'state_dict', but {keys}")
    return tensors


def find_class_names(checkpoint: dict) -> list[str]:
    """The names of the classes in a checkpoint of ours or of MMDetection, [] if it has none."""
    for keys in (("class_names",), ("meta", "CLASSES"), ("meta", "dataset_meta", "classes")):
        names = checkpoint
        for key in keys:
            names = names.get(key) if isinstance(names, dict) else None
        if isinstance(names, list | tuple) and all(isinstance(x, str) for x in names):
            return list(names)
    return []


def save_weights(
    state_dict: Mapping[str, Tensor],
    path: str,
    class_names: Sequence[str] = (),
    official: bool = False,
) -> None:
    """Writes weights in the form that Detectron2 reads, whole or not at all.

    Args:
        state_dict: of a model.
        path: to write to; a file ending in ``.safetensors`` is that package's.
        class_names: of the model's classes, if they are known.
        official: whether the file is for the official code or MMDetection instead.
    """
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with atomic_write(path) as file:
        if path.endswith(".safetensors"):
            from safetensors.torch import save

            file.write(save({name: tensor.contiguous() for name, tensor in state_dict.items()}))
        elif official:
            torch.save({"meta": {"CLASSES": list(class_names)}, "state_dict": state_dict}, file)
        else:
            content = {"model": state_dict, "__author__": "tood_d2"}
            torch.save(content | {"class_names": list(class_names)}, file)
