"""What a program says when it fails."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from traceback import extract_tb

import torch.distributed as dist

STATUS = 2
# Of what was given to the program; others may be faults of the program itself.
_EXPECTED = (OSError, ValueError, FloatingPointError)


@contextlib.contextmanager
def short_errors(program: str, traceback: bool | None = None) -> Iterator[None]:
    """Ends the program with status 2 and one message in place of a traceback.

    Args:
        program: its name.
        traceback: value of the option ``--traceback``, which leaves errors as they are; None if
            the program does not have it.
    """
    trainer = logging.getLogger("detectron2.engine.train_loop")
    if not traceback:
        trainer.addFilter(_without_traceback)
    try:
        yield
    except Exception as error:
        if traceback:
            raise
        error = _first(error)
        hint = "--traceback shows where" if traceback is not None else _place(error)
        print(f"{program}: {describe(error, hint)}", file=sys.stderr)
        raise SystemExit(STATUS) from None
    finally:
        trainer.removeFilter(_without_traceback)


def describe(error: BaseException, hint: str = "") -> str:
    """The message of an error in one line, with its type and the hint if it is unexpected."""
    text = str(error)
    if "\nOriginal Traceback " in text:  # of a loader's worker
        text = text.strip().splitlines()[-1].partition(": ")[2]
    text = " ".join(text.split()) or "no message"
    if _is_expected(error):
        return text
    return f"{type(error).__name__}: {text}" + (f" ({hint})" if hint else "")


def is_lost_connection(error: BaseException) -> bool:
    """Whether another process went away."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and "gloo" in str(error)  # it has no type of its own


def _is_expected(error: BaseException) -> bool:
    return isinstance(error, _EXPECTED) and not isinstance(error, UnicodeError)


def _first(error: Exception) -> Exception:
    """The error of the system that came first: writers that are closed then fail as well."""
    earlier = error.__context__
    if isinstance(error, OSError) and not error.filename and isinstance(earlier, OSError):
        return earlier
    return error


def _place(error: Exception) -> str:
    frame = extract_tb(error.__traceback__)[-1]
    return f"{os.path.basename(frame.filename)}, line {frame.lineno}"


def _without_traceback(record: logging.LogRecord) -> bool:
    """Detectron2's trainer logs errors, too."""
    error = record.exc_info[1] if record.exc_info else None
    if error is not None and (_is_expected(error) or is_lost_connection(error)):
        record.exc_info = None
    return True
