"""Loading of trained weights, which have to be complete."""

import os

from torch import nn

from detectron2.utils.file_io import PathManager

from .checkpointer import SafeCheckpointer

_MAX_NAMED = 5  # parameters


class _IncompatibleWeights(ValueError):
    """Parameters that a checkpoint lacks or has in another shape."""


class _CompleteCheckpointer(SafeCheckpointer):
    def _log_incompatible_keys(self, incompatible):
        super()._log_incompatible_keys(incompatible)
        misshapen = [name for name, *_ in incompatible.incorrect_shapes]
        faults = {"missing": incompatible.missing_keys, "of another shape": misshapen}
        if any(faults.values()):
            raise _IncompatibleWeights(
                ", ".join(f"{fault}: {_shorten(names)}" for fault, names in faults.items() if names)
            )


def _shorten(names: list[str]) -> str:
    rest = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + rest


def fetch_weights(path: str, key: str) -> None:
    """Finds, or downloads, weights.

    Raises:
        OSError: if that is not possible, with the key.
    """
    try:
        found = not path or os.path.isfile(PathManager.get_local_path(path.partition("?")[0]))
    except OSError as error:
        raise OSError(f"{path} ({key}): {error}") from error
    if not found:
        raise FileNotFoundError(f"{path} ({key}): no such file")


def load_weights(model: nn.Module, path: str, key: str, resume_dir: str = "") -> nn.Module:
    """Loads a checkpoint that must hold every parameter of a model.

    Args:
        model: to load into.
        path: of the checkpoint, anything that Detectron2's PathManager resolves.
        key: name of the option that gives the path, for error messages.
        resume_dir: output folder of a training run whose last checkpoint, if there is one, is
            loaded instead.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if no path is given or the checkpoint does not fit, with the parameters
            that are missing or misshapen.
    """
    checkpointer = _CompleteCheckpointer(model, resume_dir)
    if resume_dir and checkpointer.has_checkpoint():
        path = checkpointer.get_checkpoint_file()
    if not path:
        raise ValueError(f"no trained weights: give their file as {key}")
    try:
        checkpointer.load(path)
    except AssertionError as error:
        raise FileNotFoundError(f"{path} ({key}): no such file") from error
    except _IncompatibleWeights as error:
        raise ValueError(
            f"{path} ({key}) does not fit the model: {error}. Weights of the official code or of "
            "MMDetection have to be converted by tools/convert_checkpoint.py"
        ) from error
    return model.eval()
