"""Files that programs write: whole or not at all, and never in place of a user's."""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARK = "drawn by tood_d2"  # in pictures and videos, which a later run may replace
MAX_NAME = 255  # bytes of a file's name


def check_outputs(outputs: Iterable[str], inputs: Iterable[str]) -> None:
    """Checks, before long work, that files can be written without harm.

    Args:
        outputs: paths of files to write.
        inputs: paths of files that are read; those that do not exist are left out.

    Raises:
        ValueError: if a file would be written over one that is read, whatever link it is named by.
        OSError: if a file cannot be written: a folder has its name, or that of its folder is a
            file's, or the user has no permission.
    """
    read = {}
    for path in inputs:
        with contextlib.suppress(OSError):
            read[_identity(path)] = path
    folders = set()
    for path in outputs:
        if os.path.isdir(path):
            raise IsADirectoryError(f"{path} is a folder: remove it or choose another name")
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if (identity := _identity(path)) in read:
                other = "" if read[identity] == path else f", {read[identity]}"
                raise ValueError(f"{path} is an input{other}: choose another output")
        folders.add(os.path.dirname(path))
    for folder in folders:
        check_folder(folder or ".")


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def check_folder(folder: str) -> None:
    """Raises an OSError if files cannot be written into a folder, which need not exist yet."""
    place = os.path.abspath(folder)
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place):
        raise NotADirectoryError(f"{folder}: {place} is no folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder}: no permission to write to {place}")


def check_replaceable(path: str) -> bool:
    """Whether there is a picture or video of an earlier run.

    Raises:
        FileExistsError: if there is another file.
    """
    if not os.path.exists(path):
        return False
    with open(path, "rb") as file:
        start = file.read(1024)
        file.seek(max(0, os.path.getsize(path) - len(MARK)))
        if MARK.encode() not in start + file.read():
            raise FileExistsError(
                f"{path} exists and is not {MARK}: choose another folder as --output"
            )
    return True


def short_name(stem: str, ending: str) -> str:
    """The name of a file, with as much of the stem as file systems allow."""
    while len(os.fsencode(stem + ending)) > MAX_NAME:
        stem = stem[:-1]
    return stem + ending


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[str]:
    """Gives the path of a scratch file that takes the place of ``path`` once it is complete.

    What is no file, such as /dev/stdout, is given itself.

    Raises:
        OSError: if the file cannot be written, say because the disk is full.
    """
    target = os.path.realpath(path)
    folder, extension = os.path.dirname(target), os.path.splitext(target)[1]
    is_special = os.path.exists(path) and not os.path.isfile(path)
    scratch = path if is_special else os.path.join(folder, f".{os.getpid()}.tmp{extension[:20]}")
    try:
        yield scratch
        if not is_special:
            os.replace(scratch, target)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if not is_special:
            with contextlib.suppress(OSError):
                os.remove(scratch)


def write_json(content: object, path: str) -> None:
    """Writes a JSON file.

    Raises:
        OSError: see :func:`whole_file`.
    """
    with whole_file(path) as scratch, open(scratch, "w") as file:
        json.dump(content, file)


def save_picture(picture: np.ndarray, path: str) -> None:
    """Writes a picture (H, W, 3), uint8 RGB, as PNG or JPEG.

    Raises:
        OSError: see :func:`whole_file`.
    """
    info = PngInfo()
    info.add_text("Software", MARK)
    with whole_file(path) as scratch:
        Image.fromarray(picture).save(scratch, pnginfo=info, comment=MARK)


def save_figure(figure: "Figure", path: str) -> None:
    """Writes a figure of matplotlib as PNG, see :func:`save_picture`."""
    with whole_file(path) as scratch:
        figure.savefig(scratch, format="png", metadata={"Software": MARK})


def mark_video(path: str) -> None:
    """Marks an MP4 file by a box at its end, of the kind that players skip."""
    content = b"free" + MARK.encode()
    with open(path, "ab") as file:
        file.write((4 + len(content)).to_bytes(4, "big") + content)
