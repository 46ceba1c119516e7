"""The detectors that are compared."""

import argparse
import os
import shlex
from dataclasses import dataclass, replace

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

import tood_d2
from detectron2.config import CfgNode, instantiate
from tood_d2.config import build_model, load_config

from .comparing import describe_error

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Contender:
    """A config and how its model runs."""

    name: str
    cfg: CfgNode | DictConfig
    dtype: torch.dtype = torch.float32
    optimize: bool = False
    compile: bool = False
    initial_phase: bool = False
    """Whether a TOOD trains as in its initial phase."""
    num_classes: int = 80
    """K of the predictions that are assigned to anchors; elsewhere the model knows."""

    def build_model(self, seed: int) -> nn.Module:
        """The model with random weights."""
        torch.manual_seed(seed)
        return build_model(self.cfg)

    def build_inference_model(self, seed: int) -> nn.Module:
        """The model in evaluation mode, optimised if that is wanted."""
        model = self.build_model(seed).eval()
        if not self.optimize:
            return model
        return tood_d2.optimize_for_inference(model, dtype=self.dtype, compile=self.compile)

    def build_part(self, key: str) -> object | None:
        """Instantiates a part of a LazyConfig alone; None if the config has no such key."""
        if isinstance(self.cfg, CfgNode) or OmegaConf.select(self.cfg, key) is None:
            return None
        return instantiate(OmegaConf.select(self.cfg, key))


@dataclass(frozen=True)
class ONNXContender(Contender):
    """An exported file, by its own runtime."""

    def build_model(self, seed: int):
        raise ValueError("an ONNX file takes part in inference alone")

    def build_inference_model(self, seed: int):
        from tood_d2.export.onnx_detector import ONNXDetector

        return ONNXDetector(self.cfg.path)


def add_contender_options(parser: argparse.ArgumentParser, command: str) -> None:
    """Adds the options of a benchmark that may differ between its contenders."""
    if command == "inference":
        parser.add_argument(
            "--optimize", action="store_true", help="by tood_d2.optimize_for_inference"
        )
        parser.add_argument(
            "--compile", action="store_true", help="the optimized model, anew for each point"
        )
        parser.add_argument(
            "--dtype", choices=DTYPES, help="of the optimized model, else of autocast (float32)"
        )
    elif command == "training":
        parser.add_argument(
            "--amp", dest="dtype", choices=DTYPES[1:], help="type of mixed precision (none)"
        )
        parser.add_argument(
            "--initial-phase", action="store_true", help="of a TOOD, instead of task alignment"
        )


def load_contenders(
    command: str, args: argparse.Namespace, device: torch.device
) -> list[Contender]:
    """Reads the configs of a benchmark.

    Args:
        command: the benchmark.
        args: with ``configs``, ``opts`` (overrides for each) and contender options for each.
        device: to build the models on.

    Raises:
        ValueError: if a config or what follows it is wrong, with its text.
    """
    parser = _ContenderParser(add_help=False, allow_abbrev=False)
    add_contender_options(parser, command)
    parser.set_defaults(**{k: getattr(args, k) for k in vars(parser.parse_args([]))})
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*")
    contenders = []
    for i, text in enumerate(args.configs):
        try:
            own = parser.parse_intermixed_args(shlex.split(text))
            if own.config.endswith(".onnx"):
                contender = ONNXContender(text, OmegaConf.create({"path": own.config}))
            else:
                cfg = _load(own.config, [*args.opts, *own.overrides], device)
                contender = _contender(text, cfg, vars(args) | vars(own))
        except Exception as error:  # reading a LazyConfig executes it
            raise ValueError(f"{text}: {describe_error(error)}") from error
        if repeated := args.configs[:i].count(text):
            contender = replace(contender, name=f"{text} ({1 + repeated})")
        contenders.append(contender)
    return contenders


class _ContenderParser(argparse.ArgumentParser):
    def error(self, message):
        raise ValueError(message)


def _contender(name: str, cfg: CfgNode | DictConfig, options: dict) -> Contender:
    if options.get("compile") and not options["optimize"]:
        raise ValueError("--compile goes with --optimize")
    return Contender(
        name,
        cfg,
        dtype=getattr(torch, options.get("dtype") or "float32"),
        optimize=options.get("optimize", False),
        compile=options.get("compile", False),
        initial_phase=options.get("initial_phase", False),
        num_classes=options.get("classes", 80),
    )


def _load(name: str, overrides: list[str], device: torch.device) -> CfgNode | DictConfig:
    """Reads a config of either kind.

    Args:
        name: path of a ``.py`` or ``.yaml`` file, or a name of ``detectron2.model_zoo``.
        overrides: ``["key=value", ...]`` for both kinds.
        device: to build the model on.

    Raises:
        FileNotFoundError: if there is neither such a file nor such a name.
        ValueError: if an override is malformed or its key unknown.
    """
    path = name if os.path.isfile(name) else _zoo_file(name)
    cfg = load_config(path)
    if isinstance(cfg, CfgNode):
        for override in overrides:
            if "=" not in override:
                raise ValueError(f"override {override!r} should have the form key=value")
        cfg = load_config(path, [x for override in overrides for x in override.split("=", 1)])
        cfg.MODEL.DEVICE = str(device)
    else:
        cfg = load_config(path, overrides)
        cfg.train.device = str(device)
    return cfg


def _zoo_file(name: str) -> str:
    try:
        from detectron2 import model_zoo
    except ImportError as error:  # it wants pkg_resources, which new setuptools lack
        raise FileNotFoundError(
            f"{name!r}: no such config file, and names of detectron2.model_zoo are unknown, "
            f"since it cannot be imported: {error}"
        ) from error
    try:
        return model_zoo.get_config_file(name)
    except RuntimeError as error:
        raise FileNotFoundError(
            f"{name!r}: no such config file, nor a name of detectron2.model_zoo"
        ) from error
