"""The shipped models by name, in the manner of ``detectron2.model_zoo``."""

import difflib
from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from detectron2.config import CfgNode

from .checkpoint import load_weights, weights_of
from .config import build_model, load_config

# In a checkout the configs lie beside the package, installed they lie inside.
_FOLDERS = (Path(__file__).parent / "configs", Path(__file__).parents[1] / "configs")
CONFIG_FOLDER = next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0])


def list_names() -> list[str]:
    """Names of all models."""
    return sorted(path.stem for path in CONFIG_FOLDER.glob("tood_*.py"))


def get_config_file(name: str) -> str:
    """Path of a model's config.

    Args:
        name: of :func:`list_names`, as it is or with ``.py`` for the LazyConfig, with
            ``.yaml`` for its CfgNode twin.

    Raises:
        ValueError: if there is no such config, with the names closest to it.
    """
    file = name if name.endswith((".py", ".yaml")) else f"{name}.py"
    path = CONFIG_FOLDER / file
    if path.name != file or not file.startswith("tood_") or not path.is_file():
        stem, names = Path(name).stem if file == name else name, list_names()
        close = difflib.get_close_matches(stem, names, n=3, cutoff=0.5) or names
        raise ValueError(f"no model {name!r} in the zoo; there is {', '.join(close)}")
    return str(path)


def get_config(name: str, trained: bool = False) -> CfgNode | DictConfig:
    """Config of a model.

    Args:
        name: see :func:`get_config_file`.
        trained: whether its weights shall be the trained ones (``tood://NAME``) instead of
            those that training starts from.
    """
    path = get_config_file(name)
    cfg = load_config(path)
    if trained:
        weights = f"tood://{Path(path).stem}"
        if isinstance(cfg, CfgNode):
            cfg.MODEL.WEIGHTS = weights
        else:
            cfg.train.init_checkpoint = weights
    return cfg


def get(name: str, trained: bool = False, device: str | None = None) -> nn.Module:
    """A model, in training mode.

    Args:
        name: see :func:`get_config_file`.
        trained: whether to load trained weights; else it is initialised at random.
        device: to put it on, instead of the config's.

    Raises:
        FileNotFoundError: if the trained weights cannot be had, with how to fetch them.
    """
    cfg = get_config(name, trained)
    model = build_model(cfg)
    if trained:
        load_weights(model, *weights_of(cfg)).train()
    return model if device is None else model.to(device)
