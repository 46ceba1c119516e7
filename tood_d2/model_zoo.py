"""The shipped models by name, in the manner of ``detectron2.model_zoo``."""

from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from detectron2.config import CfgNode

from .checkpoint import load_weights
from .config import Run, load_run
from .config.shipped import CONFIG_FOLDER, get_config_file, list_names

__all__ = [
    "CONFIG_FOLDER",
    "get",
    "get_config",
    "get_config_file",
    "get_run",
    "list_names",
]


def get_run(name: str, trained: bool = False) -> Run:
    """The run of a model.

    Args:
        name: see :func:`get_config_file`.
        trained: whether its weights shall be the trained ones (``tood://NAME``) instead of
            those that training starts from.
    """
    path = get_config_file(name)
    return load_run(path, weights=f"tood://{Path(path).stem}" if trained else "")


def get_config(name: str, trained: bool = False) -> CfgNode | DictConfig:
    """Config of a model, see :func:`get_run`."""
    return get_run(name, trained).cfg


def get(name: str, trained: bool = False, device: str | None = None) -> nn.Module:
    """A model, in training mode.

    Args:
        name: see :func:`get_config_file`.
        trained: whether to load trained weights; else it is initialised at random.
        device: to put it on, instead of the config's.

    Raises:
        FileNotFoundError: if the trained weights cannot be had, with how to fetch them.
    """
    run = get_run(name, trained)
    model = run.build_model()
    if trained:
        load_weights(model, run.options.init_checkpoint, run.key("init_checkpoint")).train()
    return model if device is None else model.to(device)
