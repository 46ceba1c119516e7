"""Text in UTF-8, whatever the machine is set to."""

import contextlib
import locale
import os
import sys


def use_utf8() -> None:
    """Makes this process, and those that it starts, read and write text files in UTF-8.

    A terminal that cannot show a character gets its code.
    """
    os.environ["PYTHONUTF8"] = "1"  # for other processes
    if locale.getpreferredencoding(False).lower().replace("-", "") != "utf8":
        with contextlib.suppress(locale.Error):
            locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # of another kind, as in notebooks
            stream.reconfigure(errors="backslashreplace")
