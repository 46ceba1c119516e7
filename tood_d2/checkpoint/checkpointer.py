"""Detectron2's checkpointer for files from strangers."""

import numpy as np
from torch import Tensor

from detectron2.checkpoint import DetectionCheckpointer

from .file import read_checkpoint


class SafeCheckpointer(DetectionCheckpointer):
    """Loads the files that Detectron2 loads, without executing anything in them.

    Files are refused with a ``ValueError`` that names them.
    """

    def _load_file(self, filename: str) -> dict:
        try:
            if filename.endswith(".pkl"):
                checkpoint = _from_pickle(read_checkpoint(filename))
            elif filename.endswith(".pyth"):
                checkpoint = _from_pycls(read_checkpoint(filename))
            else:
                checkpoint = super()._load_file(filename)
            _checked(checkpoint["model"])
        except ValueError as error:
            raise ValueError(f"{filename}: {error}") from error
        return checkpoint

    def _torch_load(self, filename: str) -> dict:
        return read_checkpoint(filename)


def _from_pickle(content: dict) -> dict:
    if "model" in content and "__author__" in content:  # Detectron2's zoo
        return content
    # Caffe2's and Detectron's, whose detectors have "blobs".
    blobs = _checked(content.get("blobs", content))
    blobs = {name: x for name, x in blobs.items() if not name.endswith("_momentum")}
    return {"model": blobs, "__author__": "Caffe2", "matching_heuristics": True}


def _from_pycls(content: dict) -> dict:
    if "model_state" not in content:
        raise ValueError("has no 'model_state', which checkpoints of pycls have")
    state = _checked(content["model_state"])
    state = {name: x for name, x in state.items() if not name.endswith("num_batches_tracked")}
    return {"model": state, "__author__": "pycls", "matching_heuristics": True}


def _checked(weights: dict) -> dict:
    if not isinstance(weights, dict):
        raise ValueError(f"has a {type(weights).__name__} for a state dict")
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor | np.ndarray):
            raise ValueError(f"has a {type(value).__name__} for the tensor {name!r}")
    return weights
