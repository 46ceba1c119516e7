"""What a program says when it fails."""

import contextlib
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from traceback import extract_tb

from ..text import printable
from .encoding import use_utf8
from .logs import log_file, setup_logging
from .requirements import MissingRequirement, check_requirements
from .shared_memory import end_workers_without_memory, lack_of_memory

# Of what was given to the program; others may be faults of the program itself.
_EXPECTED = (OSError, ValueError, FloatingPointError, MemoryError, MissingRequirement)


@contextlib.contextmanager
def short_errors(program: str, traceback: bool | None = None) -> Iterator[None]:
    """Ends the program with status 2 and one message; the traceback goes to the run's log.txt.

    Ctrl-C ends it with status 130. Text files are in UTF-8 inside, see :func:`use_utf8`.

    Args:
        program: its name.
        traceback: value of the option ``--traceback``, which leaves errors as they are; None if
            the program does not have it.
    """
    use_utf8()
    try:
        yield
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        hint = "" if traceback is None else ", --traceback shows more"
        if log := log_file():
            hint = f", see {log}"
            logger = logging.getLogger("tood_d2")
            logger.error("The program failed:", exc_info=error, extra={"file_only": True})
        if traceback:
            raise
        error = _first(error)
        place = "in C code"  # which leaves no frames
        for frame in extract_tb(error.__traceback__)[-1:]:
            place = f"{os.path.basename(frame.filename)}, line {frame.lineno}"
        text = describe(error, place + hint)
        if log and isinstance(error, OSError) and error.errno and not error.filename:
            text += f" (output folder {os.path.dirname(log)})"
        print(f"{program}: {text}", file=sys.stderr)
        raise SystemExit(2) from None


def run_program(run: Callable[[Namespace], int | None], args: Namespace) -> int:
    """Calls the main function of a program, with logging set up, under :func:`short_errors`.

    Returns:
        The status to exit with, 0 if the function returns None.
    """
    with short_errors(os.path.basename(sys.argv[0])):
        check_requirements()
        setup_logging()
        end_workers_without_memory()
        return run(args) or 0


def describe(error: BaseException, hint: str = "") -> str:
    """The message of an error in one line, with its type and the hint if it is unexpected."""
    text = str(error)
    if "\nOriginal Traceback " in text:  # of a loader's worker
        text = text.strip().splitlines()[-1].partition(": ")[2]
    text = lack_of_memory(error) or printable(text) or "no message"
    if _is_expected(error):
        return text
    return f"{type(error).__name__}: {text}" + (f" ({hint})" if hint else "")


def _is_expected(error: BaseException) -> bool:
    if isinstance(error, RuntimeError):
        return bool(lack_of_memory(error))
    return isinstance(error, _EXPECTED) and not isinstance(error, UnicodeError)


def _first(error: BaseException) -> BaseException:
    """The error of the system that came first, as on a full disk what cleans up fails as well."""
    first = error
    if not _is_expected(error) or isinstance(error, OSError) and not error.filename:
        while error.__context__ and not error.__suppress_context__:
            error = error.__context__
            first = error if isinstance(error, OSError) else first
    return first
