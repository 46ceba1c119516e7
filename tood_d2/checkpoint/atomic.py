"""Files that are written whole or not at all."""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import IO

_UNFINISHED = re.compile(r"(last_checkpoint|(model|nonfinite)_\w+\.pth)\.\d+\.tmp")


@contextlib.contextmanager
def atomic_write(path: str, mode: str = "wb") -> Iterator[IO]:
    """Opens a file that takes its name when it is complete and on the disk.

    Whatever happens, the old file or the new one is under this name. A killed process leaves a
    file behind that :func:`remove_unfinished` finds.

    Args:
        path: of a local file.
        mode: "w" or "wb".

    Raises:
        OSError: if the file cannot be written, say because the disk is full.
    """
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        try:
            with open(temporary, mode) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_folder(os.path.dirname(os.path.abspath(path)))
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(temporary)
            raise
    except (OSError, RuntimeError) as error:
        cause = _os_error(error)
        if cause is None:
            raise
        text = f"cannot be written ({cause.strerror}); what was there before is still whole"
        raise OSError(cause.errno, text, path) from error


def remove_unfinished(folder: str) -> None:
    """Removes what killed processes left of a run's files; nobody else may write to the folder."""
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        if _UNFINISHED.fullmatch(name):
            os.remove(os.path.join(folder, name))


def _sync_folder(folder: str) -> None:
    """Puts the names in a folder on the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _os_error(error: BaseException | None) -> OSError | None:
    """The error of the system behind another: PyTorch's writer raises its own over it."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error
