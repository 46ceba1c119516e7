"""Configs of both kinds: Detectron2's CfgNode (YAML) and LazyConfig (Python)."""

import contextlib
import difflib
import logging
import os
import re
from collections.abc import Iterator
from functools import reduce

import torch
from omegaconf import DictConfig, OmegaConf

from detectron2.config import CfgNode, LazyConfig, get_cfg, instantiate
from detectron2.modeling import build_model as build_model_from_cfg_node

from ..config import add_tood_config
from .errors import describe

logger = logging.getLogger(__name__)

_NEEDED = ("model", "train.device")  # in a LazyConfig


def load_config(path: str, overrides: list[str] | None = None) -> CfgNode | DictConfig:
    """Reads a config of either kind, also one that training wrote to its output folder.

    A device of "cuda" becomes "cpu" where there is no GPU.

    Args:
        path: a ``.py`` (LazyConfig) or ``.yaml`` file. A YAML file with a top-level key
            ``model`` is a dumped LazyConfig.
        overrides: ``["key=value", ...]`` for LazyConfig, ``["KEY", "value", ...]`` for YAML.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file fails, or an override is malformed or its key unknown.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path!r}: no such config file (--config-file)")
    overrides = list(overrides or ())
    if not path.endswith((".py", ".yaml", ".yml")):
        raise ValueError(f"{path}: a config ends in .py or .yaml (--config-file)")
    if path.endswith(".py") or _is_dumped_lazy_config(path):
        with _errors_of(path):
            cfg = LazyConfig.load(path)
        missing = [x for x in _NEEDED if OmegaConf.select(cfg, x) is None]
        if missing:
            raise ValueError(f"{path}: has no {', '.join(missing)}")
        for override in overrides:
            _check_override(cfg, override)
        cfg = LazyConfig.apply_overrides(cfg, overrides)
        cfg.train.device = _available(cfg.train.device)
    else:
        cfg = get_cfg()
        add_tood_config(cfg)
        with _errors_of(path):
            cfg.merge_from_file(path)
        try:
            cfg.merge_from_list(overrides)
        except (AssertionError, KeyError) as error:
            raise ValueError(f"cannot override {' '.join(overrides)!r}: {error}") from error
        cfg.MODEL.DEVICE = _available(cfg.MODEL.DEVICE)
    return cfg


@contextlib.contextmanager
def _errors_of(path: str) -> Iterator[None]:
    """Names the file in errors of any kind, as a config is a program."""
    try:
        yield
    except Exception as error:
        cause = error.__cause__ if isinstance(error, SyntaxError) else None
        raise ValueError(f"{path}: {describe(cause or error)}") from error


def _is_dumped_lazy_config(path: str) -> bool:
    with _errors_of(path), open(path) as f:
        return re.search(r"^model:", f.read(), re.MULTILINE) is not None


def _check_override(cfg: DictConfig, override: str) -> None:
    """LazyConfig would accept a misspelt key and ignore it."""
    key, equals, _ = override.partition("=")
    if not equals:
        raise ValueError(f"override {override!r} should have the form key=value")
    parent, _, name = key.lstrip("+~").rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    # A call may take arguments that the config does not mention.
    known = isinstance(node, DictConfig) and (name in node or "_target_" in node)
    if not known and not OmegaConf.is_list(node):
        names = list(node) if isinstance(node, DictConfig) else list(cfg)
        close = difflib.get_close_matches(name, [str(x) for x in names], n=3)
        hint = f", did you mean {' or '.join(close)}?" if close else f"; known: {', '.join(names)}"
        raise ValueError(f"unknown key {key!r}{hint}")


def get_key(cfg: CfgNode | DictConfig, key: str):
    """The value of a dotted key, None if a LazyConfig has no such key."""
    if isinstance(cfg, CfgNode):
        return reduce(getattr, key.split("."), cfg)
    return OmegaConf.select(cfg, key)


def _available(device: str) -> str:
    if device.startswith("cuda") and not torch.cuda.is_available():
        logger.warning("No GPU available, using the CPU.")
        return "cpu"
    return device


def build_model(cfg: CfgNode | DictConfig) -> torch.nn.Module:
    """The model of a config of either kind, on the config's device."""
    if isinstance(cfg, CfgNode):
        return build_model_from_cfg_node(cfg)
    return instantiate(cfg.model).to(cfg.train.device)
