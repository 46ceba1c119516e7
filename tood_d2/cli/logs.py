"""Logging of a program: what a user needs on the console, everything in the run's log.txt."""

import atexit
import contextlib
import logging
import logging.handlers
import os
import re
import sys
import threading
from collections.abc import Callable
from functools import partial

# "root" gets the records of all other packages.
_LOGGERS = ("detectron2", "fvcore", "tood_d2", "root")
# Below errors, the console shows nothing of these.
_QUIET_LOGGERS = ("root", "detectron2.data", "detectron2.evaluation.fast_eval_api")
_QUIET_MESSAGES = (
    "Rank of current process: ",
    "Environment info:",
    "Command line arguments: ",
    "Contents of args.config_file=",
    "Running with full config:",
    "Model:\n",
    "[DetectionCheckpointer] Loading from  ...",  # of no file
)

# But for colours.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]|\x1b(?!\[[\d;]*m)")

# Warnings until there is a log.txt.
_early_warnings = logging.handlers.MemoryHandler(1000, flushLevel=logging.CRITICAL)


def capture_warnings() -> None:
    """Keeps Python's warnings for log.txt instead of the screen.

    To be called before PyTorch and Detectron2 are imported. Does nothing if the user asks for
    warnings, by ``python -W`` or ``PYTHONWARNINGS``.
    """
    if not sys.warnoptions:
        logging.getLogger("py.warnings").addHandler(_early_warnings)
        logging.captureWarnings(True)


def setup_logging(output_dir: str = "", rank: int = 0) -> None:
    """Sets up Detectron2's loggers, ours and that of all other packages.

    ``log.txt`` gets all records, other packages' from warnings on. The console gets neither long
    dumps nor tracebacks nor other packages' warnings, nor records that are marked with
    ``extra={"file_only": True}``. Can be called again, once the output folder is known.

    Args:
        output_dir: folder for log.txt; without one, there is none.
        rank: of this process. Only the first one writes to the console; another one's file is
            ``log.txt.rankN``.
    """
    capture_warnings()
    from detectron2.utils.logger import setup_logger

    logging.raiseExceptions = False  # a full disk should not print a traceback for each record
    setup_logger.cache_clear()
    torch_logger = logging.getLogger("torch")  # has a handler of its own for the screen
    torch_logger.handlers.clear()
    torch_logger.propagate = True
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        # As default_setup calls it, whose calls then find loggers that are set up.
        options = {} if name == "detectron2" else {"name": name}
        setup_logger(output_dir or None, distributed_rank=rank, **options)
        logger.addHandler(logging.NullHandler())  # or Python shows the records of other ranks
        for handler in logger.handlers:
            if getattr(handler, "stream", None) is sys.stdout:
                handler.addFilter(_is_for_console)
                handler.formatter.formatException = lambda _: ""  # comes before the file's
                handler.formatter.format = partial(_format, handler.formatter.format)
    logging.root.setLevel(logging.WARNING)
    threading.excepthook = _log_error_of_thread
    sys.unraisablehook = _log_unraisable
    if handler := _file_handler():
        atexit.register(_close, handler.stream)
        _early_warnings.setTarget(handler)
        _early_warnings.flush()
        logging.getLogger("py.warnings").removeHandler(_early_warnings)


def log_file() -> str | None:
    """The path of this process's log.txt, if there is one."""
    handler = _file_handler()
    return handler and getattr(handler.stream, "name", None)


def _file_handler() -> logging.StreamHandler | None:
    handlers = logging.getLogger("tood_d2").handlers
    streams = (x for x in handlers if isinstance(x, logging.StreamHandler))
    return next((x for x in streams if os.path.isfile(_name(x))), None)


def _name(handler: logging.StreamHandler) -> str:
    name = getattr(handler.stream, "name", "")
    return name if isinstance(name, str) else ""


def _is_for_console(record: logging.LogRecord) -> bool:
    if getattr(record, "file_only", False):
        return False
    if record.levelno >= logging.ERROR:
        return True
    package = record.name.partition(".")[0]
    name = record.name if package in _LOGGERS else "root"
    return not (name.startswith(_QUIET_LOGGERS) or record.getMessage().startswith(_QUIET_MESSAGES))


def _format(format: Callable, record: logging.LogRecord) -> str:
    """What a terminal would obey, in names of classes, say, is shown instead."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", format(record))


def _log_error_of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        text = f"A thread failed: {args.exc_type.__name__}: {args.exc_value}"
        logging.getLogger("tood_d2").error(text, exc_info=args.exc_value)


def _log_unraisable(args) -> None:
    """Of what cleans up, say after a failure that is told already."""
    text = f"{args.err_msg or 'Exception ignored in'}: {args.exc_value!r}"
    logging.getLogger("tood_d2").debug(text, extra={"file_only": True})


def _close(stream) -> None:
    """Closes log.txt before Detectron2 does, which would print a traceback on a full disk."""
    with contextlib.suppress(OSError):
        stream.close()
