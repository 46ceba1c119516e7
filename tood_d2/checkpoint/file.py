"""Reading of weights from files, without executing anything in them."""

import torch
from torch import Tensor


def load_state_dict(path: str) -> dict[str, Tensor]:
    """Reads the weights in a file.

    Args:
        path: of a ``.safetensors`` file, or of a ``torch.save`` file that holds a state dict,
            by itself or under the key "state_dict" (MMDetection) or "model" (Detectron2).

    Raises:
        ValueError: if the file is none of these, or holds objects other than tensors and
            plain types.
    """
    if str(path).endswith(".safetensors"):
        return _load_safetensors(path)
    checkpoint = _load(path)
    state_dict = checkpoint
    for key in ("state_dict", "model"):
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(key), dict):
            state_dict = checkpoint[key]
    if not isinstance(state_dict, dict):
        raise ValueError("holds no state dict")
    tensors = {name: x for name, x in state_dict.items() if isinstance(x, Tensor)}
    if not tensors:
        raise ValueError("holds no weights")
    return tensors


def load_class_names(path: str) -> list[str]:
    """Reads the names of the classes that the weights in a file were trained for.

    Args:
        path: see :func:`load_state_dict`.

    Returns:
        The names in the order of the classes; empty if the file does not tell.

    Raises:
        ValueError: see :func:`load_state_dict`.
    """
    checkpoint = {} if str(path).endswith(".safetensors") else _load(path)
    for keys in (("class_names",), ("meta", "CLASSES"), ("meta", "dataset_meta", "classes")):
        names = checkpoint
        for key in keys:
            names = names.get(key) if isinstance(names, dict) else None
        if isinstance(names, list | tuple) and all(isinstance(x, str) for x in names):
            return list(names)
    return []


def _load(path: str):
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # the unpickler fails on broken files in many ways
        raise ValueError(
            "no checkpoint, or one with objects other than tensors and plain types, which are "
            "not loaded for safety. If you trust it, save its weights to a file of their own"
        ) from error


def _load_safetensors(path: str) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise ValueError("reading it takes the package safetensors: pip install it") from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"no safetensors file: {error}") from error
