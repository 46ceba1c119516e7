"""Configs of both kinds: Detectron2's CfgNode (YAML) and LazyConfig (Python)."""

import difflib
import logging
import os
from functools import reduce

import torch
from omegaconf import DictConfig, OmegaConf

from detectron2.config import CfgNode, LazyConfig, get_cfg, instantiate
from detectron2.modeling import build_model as build_model_from_cfg_node

from ..cli.messages import describe
from .calls import create_lazy_config, is_lazy_config, merge_yaml
from .keys import add_tood_config
from .yaml_file import read_yaml

logger = logging.getLogger(__name__)

_NEEDED = {"model": DictConfig, "train.device": str}  # in a LazyConfig


def load_config(path: str, overrides: list[str] | None = None) -> CfgNode | DictConfig:
    """Reads a config of either kind, also one that training wrote to its output folder.

    A device of "cuda" becomes "cpu" where there is no GPU.

    Args:
        path: a ``.py`` (LazyConfig) or ``.yaml`` file. A YAML file with a top-level key
            ``model`` is a dumped LazyConfig. A ``.py`` file is a program, which is executed; a
            YAML file may come from a stranger.
        overrides: ``["key=value", ...]`` for LazyConfig, ``["KEY", "value", ...]`` for YAML.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file fails or is refused, or an override is malformed or its key unknown.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path!r}: no such config file (--config-file)")
    overrides = list(overrides or ())
    if not path.endswith((".py", ".yaml", ".yml")):
        raise ValueError(f"{path}: a config ends in .py or .yaml (--config-file)")
    content = None if path.endswith(".py") else read_yaml(path)
    if content is None or is_lazy_config(content):
        cfg = create_lazy_config(content, path) if content else _execute(path)
        if missing := [x for x in _NEEDED if not isinstance(get_key(cfg, x), _NEEDED[x])]:
            raise ValueError(f"{path}: has no {', '.join(missing)}, is it a LazyConfig?")
        for override in overrides:
            _check_override(cfg, override)
        cfg = LazyConfig.apply_overrides(cfg, overrides)
        cfg.train.device = _available(cfg.train.device)
    else:
        cfg = get_cfg()
        add_tood_config(cfg)
        merge_yaml(cfg, content, path)
        try:
            cfg.merge_from_list(overrides)
        except (AssertionError, KeyError) as error:
            raise ValueError(f"cannot override {' '.join(overrides)!r}: {error}") from error
        cfg.MODEL.DEVICE = _available(cfg.MODEL.DEVICE)
    return cfg


def _execute(path: str) -> DictConfig:
    """Loads a ``.py`` config. Errors of any kind name the file, as it is a program."""
    try:
        return LazyConfig.load(path)
    except Exception as error:
        cause = error.__cause__ if isinstance(error, SyntaxError) else None
        raise ValueError(f"{path}: {describe(cause or error)}") from error


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
