"""Which images belong to which split, by folders or lists."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from ..files import is_image_name
from .remarks import Remarks

_SPLIT = re.compile(
    r"(train|training|trainval|val|valid|validation|minival|dev|test|testing)([-_ ]?\d+)?",
    re.IGNORECASE,
)


def is_split_name(name: str) -> bool:
    """Whether a folder or list has a usual name of a split, such as "train" or "val2017"."""
    return _SPLIT.fullmatch(name) is not None


def split_name(path: Path, root: Path) -> str | None:
    """The first folder on the way from the root to a file that is called as a split is."""
    return next(filter(is_split_name, path.relative_to(root).parts[:-1]), None)


def split_by_folders(splits: dict[Path, str | None], remarks: Remarks) -> dict[str, list[Path]]:
    """Groups images by the split of each; all are the split "all" if none has one."""
    if not any(splits.values()):
        return {"all": [*splits]}
    remarks.add("images in no folder of a split, left out", *(x for x in splits if not splits[x]))
    return {
        split: [path for path, other in splits.items() if other == split]
        for split in sorted({*splits.values()} - {None})
    }


def in_folder(paths: list[Path], root: Path, name: str, remarks: Remarks) -> list[Path]:
    """Those in a folder of the name, in small or capital letters, if there are any, else all."""
    inside, outside = [], []
    for path in paths:
        folders = [part.lower() for part in path.relative_to(root).parts[:-1]]
        (inside if name.lower() in folders else outside).append(path)
    if inside:
        remarks.add(f"{paths[0].suffix} files outside of {name}, left out", *outside)
    return inside or outside


def path_parts(text: str) -> tuple[str, ...]:
    """Names of the folders and the file of a path as Windows or Unix writes it, without drive."""
    path = PurePosixPath(re.sub(r"^[A-Za-z]:", "", text).replace("\\", "/"))
    return tuple(part for part in path.parts if part not in ("/", "//", "..", "."))


def find_place(entry: str, folders: Sequence[Path]) -> Path | None:
    """Finds a file or folder by its path, which may be one on another machine.

    Args:
        entry: absolute, or relative to one of the folders; the first parts may be wrong.
        folders: where to look.

    Returns:
        None if there is none, or only one that could be of another split.
    """
    unix = entry.replace("\\", "/")
    # Exports of Roboflow and CVAT are one folder off.
    for text in dict.fromkeys((entry, unix, unix.removeprefix("../"), unix.removeprefix("data/"))):
        for folder in folders:
            if os.path.exists(folder / text):  # also if it is too long for a path
                return folder / text
    parts = path_parts(entry)
    for i in range(len(parts)):
        dropped, tail = parts[:i], parts[i:]
        if any(map(is_split_name, dropped)) and not any(map(_is_split_file, tail)):
            break
        for folder in folders:
            if os.path.exists(folder.joinpath(*tail)):
                return folder.joinpath(*tail)
    return None


def _is_split_file(name: str) -> bool:
    return is_split_name(PurePosixPath(name).stem)


class ImageIndex:
    """Finds images by the names that lists give them, such as "a", "s/a" or "C:\\\\s\\\\a.jpg"."""

    def __init__(self, images: Iterable[Path], root: Path):
        self._images: dict[str, list[tuple[tuple[str, ...], Path]]] = {}
        for path in images:
            parts = path.relative_to(root).with_suffix("").parts
            self._images.setdefault(parts[-1], []).append((parts, path))

    def find(self, line: str, where: str) -> Path:
        """Finds the image of a line.

        Raises:
            FileNotFoundError: if there is none, or if it could be one of several.
        """
        found = self._find(line)
        if len(found) != 1:
            problem = "several images" if found else "no image"
            raise FileNotFoundError(f"{where}: {line!r} has {problem} of its name")
        return found[0]

    def has_all(self, lines: Iterable[str]) -> bool:
        """Whether there are images of all lines."""
        return all(map(self._find, lines))

    def _find(self, line: str) -> list[Path]:
        parts = path_parts(line)
        name = PurePosixPath(parts[-1]) if parts else PurePosixPath(line)
        has_suffix = is_image_name(name) or name.suffix.lower() == ".xml"
        wanted = (*parts[:-1], name.stem if has_suffix else name.name)
        candidates = self._images.get(wanted[-1], [])
        found = [x for x in candidates if _have_equal_ends(x[0], wanted)]
        if not found and re.match(r"/|\\|[A-Za-z]:", line):  # whose folders are of another machine
            found = candidates
        if found:
            depth = min(len(parts) for parts, _ in found)
            found = [x for x in found if len(x[0]) == depth]
            found = [x for x in found if x[1].name == name.name] or found
        return [path for _, path in found]


def _have_equal_ends(first: Sequence[str], second: Sequence[str]) -> bool:
    length = min(len(first), len(second))
    return first[-length:] == second[-length:]
