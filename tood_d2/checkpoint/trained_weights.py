"""Loading of trained weights, which have to be complete."""

import os

from torch import nn

from detectron2.utils.file_io import Detectron2Handler, PathManager

from .checkpointer import SafeCheckpointer


def fetch_weights(path: str, key: str) -> None:
    """Finds, or downloads, a file of weights.

    Args:
        path: of the file, anything that Detectron2's PathManager resolves; "" for none.
        key: name of the option that gives the path, for error messages.

    Raises:
        OSError: if that is not possible, with what to do instead.
    """
    if not path or os.path.isfile(path):
        return
    address = path.partition("?")[0]
    try:
        found = os.path.isfile(PathManager.get_local_path(address))
    except FileNotFoundError as error:  # of the catalogue, which says what to do
        raise FileNotFoundError(f"{path} ({key}): {error}") from error
    except OSError as error:
        url = address.replace(Detectron2Handler.PREFIX, Detectron2Handler.S3_DETECTRON2_PREFIX)
        raise OSError(
            f"{path} ({key}) cannot be downloaded: {error}. Download {url} where there is a "
            f"network, and give the path of that file as {key}"
        ) from error
    if not found:
        raise FileNotFoundError(f"{path} ({key}): no such file")


def load_weights(model: nn.Module, path: str, key: str, resume_dir: str = "") -> nn.Module:
    """Loads a checkpoint that must hold every parameter of a model.

    Args:
        model: to load into.
        path, key: see :func:`fetch_weights`.
        resume_dir: output folder of a training run whose last checkpoint, if there is one, is
            loaded instead.

    Returns:
        The model, in evaluation mode.

    Raises:
        OSError: if there is no such file, or it can't be downloaded.
        ValueError: if no path is given or the checkpoint does not fit, with the parameters
            that are missing or misshapen.
    """
    checkpointer = SafeCheckpointer(model, resume_dir)
    if resume_dir and checkpointer.has_checkpoint():
        path = checkpointer.get_checkpoint_file() or path
    if not path:
        raise ValueError(f"no trained weights: give their file as {key}")
    fetch_weights(path, key)
    checkpointer.load(path)
    if misfit := checkpointer.misfit():
        raise ValueError(
            f"{path} ({key}) does not fit the model: {misfit}. Weights of the official "
            "code or of MMDetection have to be converted by tools/convert_checkpoint.py"
        )
    return model.eval()
