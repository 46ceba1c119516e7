"""Data sets in YOLO's form."""

import os
from pathlib import Path

from ...config.yaml_file import read_yaml
from .labelled_images import (
    Conversion,
    LabelledImage,
    Progress,
    find_images,
    read_lines,
    read_size,
    to_coco,
)

_SPLITS = ("train", "val", "test")
_RANGE = (-0.5, 1.5)  # of normalised numbers, as boxes may reach a little out of their image
_DIGITS = 3  # of boxes in pixels


def convert_yolo(data_yaml: str | Path, progress: Progress = iter) -> Conversion:
    """Converts what a YOLO ``data.yaml`` describes.

    Its ``train``, ``val`` and ``test`` are folders of images, lists of folders, or text files that
    list images. The labels of ``.../images/a.jpg`` are in ``.../labels/a.txt``, a line for each
    object: its class, and its box (centre x, centre y, width, height) or the corners of a polygon,
    whose bounding box is taken, relative to the image's size. Numbers after the box are left out
    if the file has ``kpt_shape``. An image without labels has no objects. Category ids are the
    classes' numbers + 1.

    Args:
        data_yaml: the file.
        progress: wraps the list of images, to show how far the conversion is.

    Raises:
        FileNotFoundError: if the file, a folder or an image is missing.
        ValueError: if there is no image or a file is malformed.
    """
    data_yaml = Path(data_yaml)
    if not data_yaml.is_file():
        raise FileNotFoundError(f"{data_yaml}: no such file")
    config = read_yaml(data_yaml)
    names = _class_names(config, data_yaml)
    root = data_yaml.parent / str(config.get("path") or "")
    splits = {
        split: _list_images(config[split], root, f"{data_yaml}: {split!r}")
        for split in _SPLITS
        if config.get(split)
    }
    paths = list(dict.fromkeys(path for images in splits.values() for path in images))
    if not paths:
        raise ValueError(f"{data_yaml}: none of {', '.join(_SPLITS)} has an image")
    labelled = {path: _read_image(path, names, "kpt_shape" in config) for path in progress(paths)}
    image_root = Path(os.path.commonpath([path.parent for path in paths]))
    contents = {
        split: to_coco([labelled[path] for path in images], names, image_root)
        for split, images in splits.items()
    }
    return Conversion(image_root, contents)


def _class_names(config: dict, data_yaml: Path) -> list[str]:
    names = config.get("names")
    if isinstance(names, dict) and sorted(map(str, names)) == sorted(map(str, range(len(names)))):
        names = [str(names[key]) for key in sorted(names, key=int)]
    if not isinstance(names, list) or not names:
        raise ValueError(f"{data_yaml}: 'names' should list the classes or number them from 0 on")
    names = [str(name) for name in names]
    if len(set(names)) < len(names):
        raise ValueError(f"{data_yaml}: 'names' has a name twice: {', '.join(names)}")
    if config.get("nc", len(names)) != len(names):
        raise ValueError(f"{data_yaml}: 'nc' is {config['nc']}, but 'names' has {len(names)}")
    return names


def _list_images(entries: str | list[str], root: Path, where: str) -> list[Path]:
    """Absolute paths of a split's images.

    Args:
        entries: a folder or text file, or several.
        root: folder that they are relative to.
        where: to be named.
    """
    images = []
    for entry in entries if isinstance(entries, list) else [entries]:
        path = root / str(entry)
        if not path.exists() and str(entry).startswith("../"):
            path = root / str(entry)[3:]  # many exports are one folder off
        if path.is_file() and path.suffix == ".txt":
            found = _listed_images(path, root)
        elif path.is_dir():
            found = find_images(path)
        else:
            raise FileNotFoundError(f"{where}: {path}: no such folder or text file")
        if not found:
            raise ValueError(f"{where}: {path} has no images")
        images += [Path(os.path.abspath(image)) for image in found]
    return list(dict.fromkeys(images))


def _listed_images(text_file: Path, root: Path) -> list[Path]:
    images = []
    for number, line in read_lines(text_file).items():
        found = [folder / line for folder in (text_file.parent, root) if (folder / line).is_file()]
        if not found:
            raise FileNotFoundError(f"{text_file}, line {number}: {line}: no such image")
        images.append(found[0])
    return images


def _label_file(image: Path) -> Path:
    parts = list(image.with_suffix(".txt").parts)
    for i in reversed(range(len(parts) - 1)):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts)


def _read_image(path: Path, names: list[str], has_keypoints: bool) -> LabelledImage:
    width, height = read_size(path)
    objects = []
    label_file = _label_file(path)
    lines = read_lines(label_file) if label_file.is_file() else {}
    for number, line in lines.items():
        label, (x1, y1, x2, y2) = _read_label(
            line, len(names), has_keypoints, f"{label_file}, line {number}"
        )
        box = [x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height]
        objects.append((names[label], [round(x, _DIGITS) for x in box]))
    return LabelledImage(path, (width, height), objects)


def _read_label(
    line: str, num_classes: int, has_keypoints: bool, where: str
) -> tuple[int, tuple[float, float, float, float]]:
    """Class and box (x1, y1, x2, y2), relative to the image's size."""
    try:
        label, *numbers = map(float, line.split())
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if label not in range(num_classes):
        raise ValueError(f"{where}: class {label:g} is not among the {num_classes} of 'names'")
    low, high = _RANGE
    if has_keypoints:
        numbers = numbers[:4]
    if not all(low <= x <= high for x in numbers):
        raise ValueError(f"{where}: numbers should be relative to the image's size, from 0 to 1")
    if len(numbers) == 4:
        x, y, width, height = numbers
        return int(label), (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if len(numbers) >= 6 and len(numbers) % 2 == 0:
        xs, ys = numbers[::2], numbers[1::2]
        return int(label), (min(xs), min(ys), max(xs), max(ys))
    raise ValueError(
        f"{where}: a class should be followed by 4 numbers of a box or by the corners of a "
        f"polygon, here are {len(numbers)} numbers"
    )
