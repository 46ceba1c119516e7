"""The detectors that are compared."""

import argparse
import shlex
from dataclasses import dataclass

import torch
from count_flops import find_config
from torch import nn

from tood_d2.cli.messages import describe
from tood_d2.config import Run, load_run
from tood_d2.engine.trainer import prepare_model

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Contender:
    """A config, or an exported model, and how its model runs.

    Attributes:
        name: its text on the command line.
        path: of the config or file.
        overrides: ``["key=value", ...]``.
        dtype: of the optimised model, else of autocast.
        optimize, compile: see ``tood_d2.optimize_for_inference``.
        device: of the model.
        requests: of an exported model, see :func:`.load_exported`.
    """

    name: str
    path: str
    overrides: list[str]
    dtype: torch.dtype
    optimize: bool
    compile: bool
    device: torch.device
    requests: int

    @property
    def is_exported(self) -> bool:
        return self.path.endswith((".onnx", ".xml"))

    def autocast(self) -> torch.autocast:
        enabled = self.dtype != torch.float32 and not self.optimize
        return torch.autocast(self.device.type, self.dtype if enabled else None, enabled)

    def build_model(self) -> nn.Module:
        """The model in evaluation mode, with random weights.

        Raises:
            ValueError: if the config is wrong.
        """
        torch.manual_seed(0)
        return self.load_run().build_model().eval()

    def build_training_model(self) -> nn.Module:
        """The model in training mode, in the config's memory format, compiled if that says so."""
        model = self.build_model().train()
        prepare_model(model, self.load_run().options)
        return model

    def load_run(self) -> Run:
        """The run of the config."""
        if self.is_exported:
            raise ValueError("an exported model takes part in inference alone")
        run = load_run(find_config(self.path), self.overrides)
        return run.with_options(device=str(self.device))


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise ValueError(message)


def parse_contenders(texts: list[str], device: torch.device) -> list[Contender]:
    """Contenders from texts like ``"config.py key=value --optimize"``.

    Raises:
        ValueError: if one is malformed, with its text.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("path")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--optimize", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--requests", type=int, default=1)
    parser.add_argument("--dtype", "--amp", choices=DTYPES, default="float32")
    contenders = []
    for i, text in enumerate(texts):
        try:
            options = vars(parser.parse_intermixed_args(shlex.split(text)))
            if options["compile"] and not options["optimize"]:
                raise ValueError("--compile goes with --optimize")
        except ValueError as error:
            raise ValueError(f"{text}: {describe(error)}") from error
        options["dtype"] = getattr(torch, options["dtype"])
        name = f"{text} ({texts[: i + 1].count(text)})" if text in texts[:i] else text
        contenders.append(Contender(name, device=device, **options))
    return contenders
