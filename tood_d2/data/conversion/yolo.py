"""Data sets in YOLO's form."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import yaml

from .labelled_images import (
    Conversion,
    LabelledImage,
    convert_images,
    find_images,
    read_lines,
    read_size,
)

_SPLITS = ("train", "val", "test")
_RANGE = (-0.5, 1.5)  # of normalised numbers, as boxes may reach a little out of their image
_DIGITS = 3  # of boxes in pixels
_MAX_BYTES = 1_000_000  # of data.yaml
_NULLS = ("", "~", "null", "Null", "NULL")

logger = logging.getLogger(__name__)


def convert_yolo(data_yaml: str | Path) -> Conversion:
    """Converts what a YOLO ``data.yaml`` describes.

    Its ``train``, ``val`` and ``test`` are folders of images, lists of folders, or text files that
    list images. The labels of ``.../images/a.jpg`` are in ``.../labels/a.txt``, a line for each
    object: its class, and its box (centre x, centre y, width, height) or the corners of a polygon,
    whose bounding box is taken, relative to the image's size. Numbers after the box are left out
    if the file has ``kpt_shape``. An image without labels has no objects. Category ids are the
    classes' numbers + 1. Without its folders ``val`` or ``test`` is left out, with a warning.

    Raises:
        FileNotFoundError: if the file, a folder or an image is missing.
        ValueError: if there is no image or a file is malformed.
    """
    data_yaml = Path(data_yaml)
    if not data_yaml.is_file():
        raise FileNotFoundError(f"{data_yaml}: no such file")
    config = _read_yaml(data_yaml)
    names = _class_names(config, data_yaml)
    splits = _find_splits(config, data_yaml)
    paths = [path for images in splits.values() for path in images]
    if not paths:
        raise ValueError(f"{data_yaml}: none of {', '.join(_SPLITS)} has an image")
    image_root = Path(os.path.commonpath([path.parent for path in paths]))
    return convert_images(
        splits, lambda path: _read_image(path, names, "kpt_shape" in config), image_root, names
    )


def _read_yaml(data_yaml: Path) -> dict:
    """Reads a file's mapping; all of its values are text, so that a class can be called "no"."""
    if data_yaml.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{data_yaml} has more than {_MAX_BYTES} bytes: is it a data.yaml?")
    try:
        with data_yaml.open("rb") as file:  # whose name and line YAML's errors tell
            config = yaml.load(file, yaml.BaseLoader)
    except (RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{data_yaml} is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{data_yaml} should have keys and values, such as 'train' and 'names'")
    return {key: value for key, value in config.items() if value not in _NULLS}


def _class_names(config: dict, data_yaml: Path) -> list[str]:
    names = config.get("names")
    if isinstance(names, dict) and sorted(names) == sorted(map(str, range(len(names)))):
        names = [names[key] for key in sorted(names, key=int)]
    if not names or not _is_list_of_text(names):
        raise ValueError(f"{data_yaml}: 'names' should list the classes or number them from 0 on")
    if len(set(names)) < len(names):
        raise ValueError(f"{data_yaml}: 'names' has a name twice: {', '.join(names)}")
    if config.get("nc", str(len(names))) != str(len(names)):
        raise ValueError(f"{data_yaml}: 'nc' should be {len(names)}, as many as 'names' has")
    return names


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(x, str) for x in value)


def _find_splits(config: dict, data_yaml: Path) -> dict[str, list[Path]]:
    """Absolute paths of the images of each split."""
    splits = {}
    for split in filter(config.get, _SPLITS):
        where = f"{data_yaml}: {split!r}"
        entries = [config[split]] if isinstance(config[split], str) else config[split]
        folder = config.get("path", "")
        if not isinstance(folder, str) or not _is_list_of_text(entries):
            raise ValueError(f"{where} should be a folder, a text file, or a list of them")
        root = data_yaml.parent / folder
        places = [_resolve(entry, root) for entry in entries]
        if split != "train" and not any(place.exists() for place in places):
            logger.warning(f"{where} is left out: {places[0]}: no such folder or text file")
            continue
        images = [image for place in places for image in _list_images(place, root, where)]
        splits[split] = list(dict.fromkeys(images))
    return splits


def _resolve(entry: str, root: Path) -> Path:
    path = root / entry
    if not path.exists() and entry.startswith("../"):
        return root / entry[3:]  # many exports are one folder off
    return path


def _list_images(place: Path, root: Path, where: str) -> list[Path]:
    if place.is_dir():
        images = find_images(place)
    elif place.is_file() and place.suffix == ".txt":
        images = [
            _find_listed(line, (place.parent, root), line_place)
            for line_place, line in read_lines(place).items()
        ]
    else:
        raise FileNotFoundError(f"{where}: {place}: no such folder or text file")
    if not images:
        raise ValueError(f"{where}: {place} has no images")
    return [Path(os.path.abspath(image)) for image in images]


def _find_listed(line: str, folders: Sequence[Path], where: str) -> Path:
    for folder in folders:
        if (folder / line).is_file():
            return folder / line
    raise FileNotFoundError(f"{where}: {line}: no such image")


def _read_image(path: Path, names: list[str], has_keypoints: bool) -> LabelledImage:
    width, height = read_size(path)
    before, images, after = str(path.with_suffix(".txt")).rpartition(f"{os.sep}images{os.sep}")
    label_file = Path(before, "labels", after) if images else Path(after)
    objects = []
    for where, line in read_lines(label_file).items() if label_file.is_file() else ():
        label, *box = _read_label(line, len(names), has_keypoints, where)
        sides = (width, height) * 2
        box = [round(x * side, _DIGITS) for x, side in zip(box, sides, strict=True)]
        objects.append((names[label], box))
    return LabelledImage(path, (width, height), objects)


def _read_label(line: str, num_classes: int, has_keypoints: bool, where: str) -> tuple:
    """Class and box (x, y, width, height), relative to the image's size."""
    try:
        label, *numbers = map(float, line.split())
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if label not in range(num_classes):
        raise ValueError(f"{where}: class {label:g} is not among the {num_classes} of 'names'")
    if has_keypoints:
        numbers = numbers[:4]
    low, high = _RANGE
    if not all(low <= x <= high for x in numbers):
        raise ValueError(f"{where}: numbers should be relative to the image's size, from 0 to 1")
    if len(numbers) == 4:
        x, y, width, height = numbers
        return int(label), x - width / 2, y - height / 2, width, height
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError(
            f"{where}: a class should be followed by 4 numbers of a box or by the corners of a "
            f"polygon, here are {len(numbers)} numbers"
        )
    xs, ys = numbers[::2], numbers[1::2]
    return int(label), min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
