"""Files that are written whole or not at all."""

import contextlib
import errno
import os
import re
import uuid
from collections.abc import Iterator
from typing import IO

_UNFINISHED = re.compile(r"\.tood_d2-[0-9a-f]{32}\.tmp")


def unfinished_name() -> str:
    """A new name for a file that :func:`remove_unfinished` finds."""
    return f".tood_d2-{uuid.uuid4().hex}.tmp"


def is_unfinished(name: str) -> bool:
    """Whether a file has such a name."""
    return bool(_UNFINISHED.fullmatch(os.path.basename(name)))


@contextlib.contextmanager
def atomic_write(path: str, mode: str = "wb") -> Iterator[IO]:
    """Opens a file that takes its name when it is complete and on the disk.

    Whatever happens, the old file or the new one is under this name, which is a local path. A
    killed process leaves a file behind that :func:`remove_unfinished` finds.

    Raises:
        OSError: if the file cannot be written, say because the disk is full.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # a device would be replaced
        raise FileExistsError(errno.EEXIST, "is there already, and no file", path)
    temporary = os.path.join(os.path.dirname(path), unfinished_name())
    try:
        with open(temporary, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(os.path.dirname(os.path.abspath(path)))
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        cause = error
        while isinstance(cause, RuntimeError):  # PyTorch's writer raises it over the system's
            cause = cause.__cause__ or cause.__context__
        if not isinstance(cause, OSError):
            raise
        text = f"cannot be written ({cause.strerror}); what was there before is still whole"
        raise OSError(cause.errno, text, path) from error


def remove_unfinished(folder: str) -> None:
    """Removes what killed processes left of a run's files; nobody else may write to the folder."""
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        if is_unfinished(name):
            os.remove(os.path.join(folder, name))


def _sync_folder(folder: str) -> None:
    """Puts the names in a folder on the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
