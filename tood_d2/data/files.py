"""Files of a folder, and which of them are images."""

import functools
import os
from pathlib import Path

from PIL import Image

_COMMON = ("JPEG", "PNG")  # tried first, as trying all of them takes a millisecond
# Pillow opens these files, too, but leaves it to other programs to decode them, or is unable to.
_NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}


@functools.cache
def image_formats() -> tuple[str, ...]:
    """Formats of images that Pillow decodes itself, for ``Image.open(formats=...)``."""
    Image.init()
    return (*_COMMON, *sorted({*Image.OPEN} - _NOT_DECODED - {*_COMMON}))


@functools.cache
def image_suffixes() -> frozenset[str]:
    """Suffixes of these formats, in small letters with their dot."""
    formats = {*image_formats(), "MPO"}  # which are opened as JPEG
    suffixes = Image.registered_extensions()
    return frozenset(suffix for suffix, name in suffixes.items() if name in formats)


def is_image_name(path: str | os.PathLike) -> bool:
    """Whether a file is an image by its suffix."""
    return Path(path).suffix.lower() in image_suffixes()


def is_hidden(name: str) -> bool:
    """Whether a file or folder has a name that file managers hide, or macOS adds to archives."""
    return name.startswith(".") or name == "__MACOSX"


def walk_files(folder: str | os.PathLike) -> list[Path]:
    """Lists the regular files in a folder and its sub-folders, sorted, without hidden ones.

    Links are followed, but each folder is listed once. Pipes and devices are left out.

    Raises:
        OSError: if the folder or a sub-folder does not exist or cannot be read.
    """
    files, visited = [], set()
    links = [Path(folder)]
    while links:  # folders themselves come before links to them
        folders = [links.pop(0)]
        while folders:
            place = folders.pop()
            if (real := os.path.realpath(place)) in visited:
                continue
            visited.add(real)
            for entry in sorted(os.scandir(place), key=lambda entry: entry.name):
                if is_hidden(entry.name):
                    continue
                path = place / entry.name
                if path.is_dir():
                    (links if entry.is_symlink() else folders).append(path)
                elif path.is_file():
                    files.append(path)
    return sorted(files)
