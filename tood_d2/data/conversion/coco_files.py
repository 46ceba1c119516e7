"""Data sets in COCO's form: which JSON files belong to which images."""

import contextlib
import json
import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..coco.image_files import find_image_files
from ..files import walk_files
from .splits import is_split_name

_LISTS = [
    re.compile(rb'"%s"\s*:\s*\[' % name) for name in (b"images", b"annotations", b"categories")
]
_FILE_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')
_NUM_NAMES = 20  # of images that are looked for, as some may be missing
_ROBOFLOW = "_annotations.coco"
_INSTANCES = "instances_"  # as COCO calls them, beside captions and keypoints of the same images


def find_coco_files(folder: Path) -> dict[str, Path]:
    """The JSON file of each split in a folder and its sub-folders; none if there are no such files.

    Splits are named as the file is ("train" for ``instances_train.json``), or as its folder, or
    "all".

    Raises:
        ValueError: if two files are of the same split.
    """
    splits: dict[str, Path] = {}
    files = [x for x in walk_files(folder) if x.suffix.lower() == ".json" and _is_coco(x)]
    folders = {x.parent for x in files if x.stem.startswith(_INSTANCES)}
    for path in files:
        if path.parent in folders and not path.stem.startswith(_INSTANCES):
            continue
        split = split_of_file(path, folder)
        if split in splits:
            raise ValueError(f"{splits[split]} and {path} are both of the split {split!r}")
        splits[split] = path
    return splits


def split_of_file(path: Path, root: Path | None = None) -> str:
    """Name of the split that a JSON file is of."""
    name = path.stem.removeprefix(_INSTANCES).removesuffix(_ROBOFLOW)
    words = [x for x in re.split(r"[_. -]", name) if is_split_name(x)]
    if words:
        return words[-1]
    if is_split_name(path.parent.name) and path.parent != root:
        return path.parent.name
    return "all"


def find_image_folder(json_file: Path, root: Path) -> Path:
    """The folder that has the images of a JSON file.

    Where none has them under these very names, it is the one in which they can be meant; see
    :func:`.find_image_files`.

    Raises:
        FileNotFoundError: if no folder in question has one of the first images.
        ValueError: if the file names no image.
    """
    with _mapped(json_file) as content:
        matches = [x for x, _ in zip(_FILE_NAME.finditer(content), range(_NUM_NAMES), strict=False)]
        try:
            names = [json.loads(match[1]) for match in matches]
        except ValueError as error:
            raise ValueError(f"{json_file} has a 'file_name' that is no text: {error}") from error
    if not names:
        raise ValueError(f"{json_file} names no image by 'file_name'")
    split = split_of_file(json_file, root)
    subs = (split, f"images/{split}", f"{split}/images", "images", "data", ".")
    parents = dict.fromkeys((json_file.parent, json_file.parent.parent, root))
    folders = [json_file.parent, *(parent / sub for parent in parents for sub in subs)]
    for folder in folders:
        if any(os.path.isfile(folder / name) for name in names):
            return folder
    for folder in dict.fromkeys((json_file.parent, root)):
        if any(find_image_files(names, folder)):
            return folder
    places = ", ".join(dict.fromkeys(str(x) for x in folders if x.is_dir()))
    raise FileNotFoundError(f"{json_file}: {names[0]}: no such image, looked in {places}")


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[bytes | mmap.mmap]:
    """Bytes of a JSON file in UTF-8, which may be larger than the memory."""
    with path.open("rb") as file:
        head = file.read(4)
        encoding = json.detect_encoding(head)
        if not head or not encoding.startswith("utf-8"):
            yield (head + file.read()).decode(encoding, "replace").encode()
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


def _is_coco(path: Path) -> bool:
    with _mapped(path) as content:
        return all(pattern.search(content) for pattern in _LISTS)
