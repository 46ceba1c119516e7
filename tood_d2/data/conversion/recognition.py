"""Data sets in any of the forms, told apart by their files."""

import re
from pathlib import Path
from typing import NamedTuple

from ..files import is_image_name, walk_files
from .coco_files import find_coco_files, find_image_folder, split_of_file
from .voc import convert_voc
from .yolo import convert_yolo
from .yolo_sets import YAML_SUFFIXES, find_class_files, find_config

_LOOKED_FOR = (
    "COCO's JSON files with images, annotations and categories; YOLO's data.yaml, obj.data, or "
    "classes.txt with a text file for each image; Pascal VOC's XML files that begin with "
    "<annotation>. CVAT, Label Studio and other tools export one of these forms, too"
)
_HEAD = 4096  # bytes in which an XML file begins


class Source(NamedTuple):
    """A data set that is ready for training."""

    form: str  # "coco", "voc" or "yolo"
    splits: dict[str, tuple[dict | Path, Path]]
    """For each split by its name: the content of a JSON file in COCO's form, or the file, and the
    folder of the images."""


def convert_any(source: str | Path) -> Source:
    """Converts a file or folder whose form is recognised; COCO's files are taken as they are.

    Args:
        source: a folder with COCO's JSON files, YOLO's labels or VOC's XML files, or a data.yaml,
            an obj.data or a JSON file.

    Raises:
        FileNotFoundError: if there is no such file or folder, or a part of it is missing.
        ValueError: if it is of no known form or could be of several, or a file is malformed.
    """
    source = Path(source)
    form = _form_of_folder(source) if source.is_dir() else _form_of_file(source)
    if form == "coco":
        files = {split_of_file(source): source} if source.is_file() else find_coco_files(source)
        root = source.parent if source.is_file() else source
        return Source(form, {k: (v, find_image_folder(v, root)) for k, v in files.items()})
    conversion = convert_voc(source) if form == "voc" else convert_yolo(source)
    splits = {k: (content, conversion.image_root) for k, content in conversion.splits.items()}
    return Source(form, splits)


def _form_of_file(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file or folder")
    suffix = path.suffix.lower()
    if suffix in (*YAML_SUFFIXES, ".data"):
        return "yolo"
    if suffix == ".json":
        return "coco"
    raise ValueError(f"{path} is of no known form: name a folder, a data.yaml or a JSON file")


def _form_of_folder(folder: Path) -> str:
    files = walk_files(folder)
    found = {
        "coco": bool(find_coco_files(folder)),
        "voc": any(x.suffix.lower() == ".xml" and _is_voc(x) for x in files),
        "yolo": _is_yolo(folder, files),
    }
    forms = [form for form, is_found in found.items() if is_found]
    if len(forms) > 1:
        raise ValueError(
            f"{folder} could be in the form of {' or '.join(forms)}: name its data.yaml or a JSON "
            "file, or convert it by its form"
        )
    if not forms:
        raise ValueError(f"{folder} is of no known form: it has none of {_LOOKED_FOR}")
    return forms[0]


def _is_voc(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_HEAD).replace(b"\0", b"")  # in UTF-16 every second byte
    return bool(re.search(rb"<annotation[\s>]", head))


def _is_yolo(folder: Path, files: list[Path]) -> bool:
    if find_config(folder):
        return True
    stems = {path.stem for path in files if is_image_name(path)}
    texts = (path for path in files if path.suffix.lower() == ".txt")
    return bool(find_class_files(folder)) and any(path.stem in stems for path in texts)
