"""Loading of configs of both kinds: Detectron2's CfgNode (YAML) and LazyConfig (Python)."""

import importlib
import logging
from collections.abc import Collection, Sequence

import torch
from omegaconf import DictConfig, OmegaConf

from detectron2.config import CfgNode, LazyConfig, get_cfg

from ..cli.messages import describe
from .calls import create_lazy_config, foreign_packages
from .keys import add_tood_config
from .lazy_run import LazyRun
from .overrides import override_lazy, override_yaml
from .provenance import is_own
from .run import Run
from .shipped import find_config_file
from .yaml_file import PlainCfgNode, read_yaml
from .yaml_run import YamlRun

logger = logging.getLogger(__name__)

_NEEDED = {"model": DictConfig, "train.device": str}  # in a LazyConfig


def load_run(
    path: str, overrides: Sequence[str] = (), trusted: Collection[str] = (), weights: str = ""
) -> Run:
    """Reads a config of either kind, also one that training wrote to its output folder.

    A device of "cuda" becomes "cpu" where there is no GPU.

    Args:
        path: a ``.py`` (LazyConfig) or ``.yaml`` file, or the name of a shipped one, as
            ``tood_R_50_FPN_1x``. A YAML file with a top-level key
            ``model`` is a dumped LazyConfig. A ``.py`` file is a program, which is executed; a
            YAML file may come from a stranger.
        overrides: ``["key=value", ...]``, for YAML also ``["KEY", "value", ...]``.
        trusted: packages of the user's. They are imported, and a YAML file may call what they hold.
        weights: file of weights instead of the config's.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file fails or is refused, an override is malformed or its key unknown,
            or a trusted package cannot be imported.
    """
    overrides = list(map(str, overrides))
    if options := [x for x in overrides if x.startswith("--")]:
        raise ValueError(f"{options[0]}: options come before overrides, such as {overrides[0]}")
    path = find_config_file(path)
    if not path.endswith((".py", ".yaml", ".yml")):
        raise ValueError(f"{path}: a config ends in .py or .yaml (--config-file)")
    for package in trusted:
        try:
            importlib.import_module(package)
        except Exception as error:  # of any kind, as it is a program
            raise ValueError(f"--trust {package}: {describe(error)}") from error
    content = None if path.endswith(".py") else read_yaml(path)
    if content is None or "model" in content:
        run = _load_lazy(path, content, overrides, trusted)
    else:
        run = _load_yaml(path, overrides)
    if weights:
        run = run.with_options(init_checkpoint=weights)
    return _on_a_device_that_is_there(run)


def load_config(
    path: str, overrides: Sequence[str] = (), trusted: Collection[str] = ()
) -> CfgNode | DictConfig:
    """The config of a run, see :func:`load_run`."""
    return load_run(path, overrides, trusted).cfg


def as_run(cfg: CfgNode | DictConfig) -> Run:
    """The run of a config that has been loaded already."""
    return YamlRun(cfg) if isinstance(cfg, CfgNode) else LazyRun(cfg)


def _on_a_device_that_is_there(run: Run) -> Run:
    key = run.key("device")
    name = run.get(key)
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{key} should be like cuda, cuda:1 or cpu, not {name!r}") from error
    if device.type != "cuda":
        return run
    if not torch.cuda.is_available():
        logger.warning("No GPU available, using the CPU.")
        return run.with_options(device="cpu")
    if (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"{key} is {name}, this machine has {torch.cuda.device_count()} GPUs")
    return run


def _load_lazy(
    path: str, content: dict | None, overrides: list[str], trusted: Collection[str]
) -> LazyRun:
    if content is None:
        try:
            cfg = LazyConfig.load(path)
        except Exception as error:  # of any kind, as it is a program
            cause = error.__cause__ if isinstance(error, SyntaxError) else None
            raise ValueError(f"{path}: {describe(cause or error)}") from error
    else:
        trusted = foreign_packages(content) if is_own(path) else trusted
        cfg = create_lazy_config(content, path, trusted)
    missing = [x for x in _NEEDED if not isinstance(OmegaConf.select(cfg, x), _NEEDED[x])]
    if missing:
        raise ValueError(f"{path}: has no {', '.join(missing)}, is it a LazyConfig?")
    return LazyRun(cfg, override_lazy(cfg, overrides))


def _load_yaml(path: str, overrides: list[str]) -> YamlRun:
    cfg = get_cfg()
    add_tood_config(cfg)
    try:
        cfg.merge_from_other_cfg(CfgNode(PlainCfgNode.load_yaml_with_base(path)))
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        text = str(error)
        raise ValueError(text if path in text else f"{path}: {text}") from error
    except (MemoryError, RecursionError) as error:
        raise ValueError(f"{path} is nested too deeply, or has itself for a base") from error
    if cfg.MODEL.LOAD_PROPOSALS:
        raise ValueError(
            f"{path}: MODEL.LOAD_PROPOSALS unpickles files, which is not done for safety"
        )
    return YamlRun(cfg, override_yaml(cfg, overrides))
