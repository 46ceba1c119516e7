"""What a program says when it fails."""

import contextlib
import sys
from collections.abc import Iterator

STATUS = 2
# Of what was given to the program; others may be faults of the program itself.
_EXPECTED = (OSError, ValueError, FloatingPointError)


@contextlib.contextmanager
def short_errors(program: str, traceback: bool = False) -> Iterator[None]:
    """Ends the program with status 2 and one message in place of a traceback.

    Args:
        program: its name.
        traceback: whether to leave errors as they are.
    """
    try:
        yield
    except Exception as error:
        if traceback:
            raise
        print(f"{program}: {describe(error)}", file=sys.stderr)
        raise SystemExit(STATUS) from None


def describe(error: Exception) -> str:
    """The message of an error, with its type and a hint if it is none that one would expect."""
    if isinstance(error, _EXPECTED) and not isinstance(error, UnicodeError):
        return str(error)
    text = str(error) or "no message"
    return f"{type(error).__name__}: {text} (--traceback shows where)"
