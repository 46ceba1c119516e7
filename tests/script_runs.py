"""The project's scripts run in this process, as on a command line but faster."""

import builtins
import contextlib
import functools
import importlib.util
import io
import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from detectron2.utils.logger import setup_logger

ROOT = Path(__file__).resolve().parents[1]


class Command(NamedTuple):
    """A script with its arguments, and the circumstances in which it runs."""

    argv: list[str]
    environment: Mapping[str, str] = {}
    patch: contextlib.AbstractContextManager = contextlib.nullcontext()


class Outcome(NamedTuple):
    """How a command ended."""

    status: int
    messages: list[str]
    """Lines of the standard error, without argparse's usage."""
    output: str
    """Everything that was printed, and logged."""


@functools.cache
def _script(path: str):
    spec = importlib.util.spec_from_file_location(f"fault_{Path(path).stem}", ROOT / path)
    module = importlib.util.module_from_spec(spec)
    with mock.patch("sys.path", [str((ROOT / path).parent), *sys.path]):
        spec.loader.exec_module(module)
    return module


def run(command: Command, folder: Path) -> Outcome:
    """Runs a script in this process, from the folder, as ``__main__`` does."""
    out, err = io.StringIO(), io.StringIO()
    module = _script(command.argv[0])
    with contextlib.ExitStack() as stack:
        stack.enter_context(own_logging())
        stack.callback(os.chdir, os.getcwd())
        os.chdir(folder)
        stack.enter_context(mock.patch("sys.argv", command.argv))
        # Detectron2 leaves its own there if a config fails.
        stack.enter_context(mock.patch("builtins.__import__", builtins.__import__))
        stack.enter_context(mock.patch.dict(os.environ, command.environment))
        # Takes a second, and is not what is tested.
        stack.enter_context(mock.patch("detectron2.engine.defaults.collect_env_info", str))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        # Warnings before there is a log are no messages.
        last_resort = logging.StreamHandler(out)
        last_resort.setLevel(logging.WARNING)
        stack.enter_context(mock.patch("logging.lastResort", last_resort))
        stack.enter_context(command.patch)
        status = _call(module)
    lines = [line for line in err.getvalue().splitlines() if line.strip()]
    if lines and lines[0].startswith("usage: "):
        lines = [line for line in lines[1:] if not line.startswith(" ")]
    return Outcome(status, lines, out.getvalue() + err.getvalue())


def _call(module) -> int:
    try:
        if hasattr(module, "launch"):
            module.launch(module.main, module.parse_args())
        else:
            sys.exit(module.main())
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
            return 1
        return error.code or 0
    except BaseException:  # Python would print this and end with 1
        traceback.print_exc()
        return 1
    return 0


@contextlib.contextmanager
def own_logging():
    """Loggers as at the start of a program, and afterwards as before."""
    setup_logger.cache_clear()
    names = (None, "detectron2", "fvcore", "tood_d2", "tood_d2.config.loading", "torch")
    loggers = [logging.getLogger(x) for x in names]
    states = [(x, x.handlers, x.level, x.propagate) for x in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.WARNING if logger is logging.root else logging.NOTSET)
    excepthook, unraisablehook = threading.excepthook, sys.unraisablehook
    try:
        with mock.patch("logging.raiseExceptions", True):
            yield
    finally:
        logging.captureWarnings(False)
        threading.excepthook, sys.unraisablehook = excepthook, unraisablehook
        setup_logger.cache_clear()
        for logger, handlers, level, propagate in states:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
