"""Class names and images of data sets in YOLO's form."""

import logging
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from ..files import is_hidden, is_image_name, walk_files
from .remarks import Remarks
from .splits import find_place, in_folder, is_split_name, path_parts, split_by_folders, split_name
from .text import read_lines, read_text

YAML_SUFFIXES = (".yaml", ".yml")
_CONFIG_FILES = ("data.yaml", "data.yml", "obj.data")
_CLASS_FILES = ("classes.txt", "_darknet.labels")
_SPLITS = ("train", "val", "valid", "test")
_KEYPOINTS = re.compile("[0-9]{1,4}")  # number of keypoints, and of numbers of each
_MAX_BYTES = 1_000_000  # of data.yaml
_NULLS = ("", "~", "null", "Null", "NULL")

logger = logging.getLogger(__name__)


class YoloSet(NamedTuple):
    """What is known of a data set before its labels are read."""

    class_names: list[str]
    splits: dict[str, list[Path]]  # absolute paths of the images of each split
    num_keypoint_numbers: int  # behind each box
    lists: Sequence[Path]  # text files that list images
    other_images: Sequence[Path]  # images in no split


def find_yolo_set(source: Path, remarks: Remarks) -> YoloSet:
    """Finds what a data.yaml or obj.data describes, or what a folder with classes.txt has.

    Raises:
        FileNotFoundError: if a file or folder is missing.
        ValueError: if a file is malformed, or there is no class or no image.
    """
    if not source.is_file() and not source.is_dir():
        raise FileNotFoundError(f"{source}: no such file or folder")
    config_file = find_config(source) if source.is_dir() else source
    if config_file is None:
        return _read_folder(source, remarks)
    if config_file.suffix.lower() == ".data":
        config = _read_darknet(config_file)
    else:
        config = _read_yaml(config_file)
    lists: list[Path] = []
    folders = _base_folders(config, config_file)
    splits = _find_splits(config, config_file, folders, lists, remarks)
    names = _class_names(config, config_file)
    if not any(splits.values()):
        raise ValueError(f"{config_file}: none of train, val, test has an image")
    return YoloSet(
        names,
        splits,
        _num_keypoint_numbers(config, config_file),
        lists,
        _other_images(folders[0], splits),
    )


def find_config(folder: Path) -> Path | None:
    """The data.yaml or obj.data of a folder, whatever its name is, or of a sub-folder.

    Returns:
        None without any.

    Raises:
        ValueError: if there are several.
    """
    files = sorted(x for x in folder.iterdir() if x.is_file() and not is_hidden(x.name))
    found = [x for x in files if x.name.lower() in _CONFIG_FILES]
    for suffixes in (YAML_SUFFIXES, (".data",)):
        found = found or [x for x in files if x.suffix.lower() in suffixes and _has_names(x)]
    found = found or [x for x in walk_files(folder) if x.name.lower() in _CONFIG_FILES]
    if len(found) > 1:
        names = ", ".join(x.relative_to(folder).as_posix() for x in found)
        raise ValueError(f"{folder} has {names}: name one of them")
    return found[0] if found else None


def _has_names(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_MAX_BYTES)
    return bool(re.search(rb"^[\"']?names[\"']?\s*[:=]", head, re.MULTILINE))


def find_class_files(folder: Path) -> list[Path]:
    """Files in a folder and its sub-folders that list class names, a line each."""
    return [x for x in walk_files(folder) if is_class_file(x)]


def is_class_file(path: Path) -> bool:
    """Whether a file lists class names, by its own name."""
    return path.name.lower() in _CLASS_FILES or path.suffix.lower() == ".names"


def _read_folder(folder: Path, remarks: Remarks) -> YoloSet:
    class_files = find_class_files(folder)
    if not class_files:
        raise ValueError(
            f"{folder} has no data.yaml, no obj.data, and no classes.txt or obj.names with the "
            "names of the classes, a line each"
        )
    names = _read_class_file(class_files[0])
    for other in class_files[1:]:
        if _read_class_file(other) != names:
            raise ValueError(f"{class_files[0]} and {other} have different classes")
    files = [Path(os.path.abspath(x)) for x in walk_files(folder)]
    root = Path(os.path.abspath(folder))
    lists = [x for x in files if x.parent == root and x.suffix.lower() == ".txt"]
    lists = [x for x in lists if is_split_name(x.stem)]
    if lists:
        splits = {x.stem: _listed_images(x, [root], str(x), remarks) for x in lists}
    else:
        images = in_folder([x for x in files if is_image_name(x)], root, "images", remarks)
        splits = split_by_folders({x: split_name(x, root) for x in images}, remarks)
    if not any(splits.values()):
        raise ValueError(f"{folder} has no images")
    return YoloSet(names, splits, 0, lists, _other_images(root, splits))


def _other_images(folder: Path, splits: dict[str, list[Path]]) -> list[Path]:
    chosen = {os.path.realpath(path) for paths in splits.values() for path in paths}
    if not any(Path(path).is_relative_to(folder.resolve()) for path in chosen):
        return []  # as the folder has a data.yaml of images that are elsewhere
    images = [Path(os.path.abspath(x)) for x in walk_files(folder) if is_image_name(x)]
    return [image for image in images if os.path.realpath(image) not in chosen]


def _read_class_file(path: Path) -> list[str]:
    names = [line.strip() for line in read_text(path).rstrip().splitlines()]
    if not all(names):
        raise ValueError(f"{path}, line {names.index('') + 1}: a class has no name")
    return _checked_names(names, str(path))


def _read_darknet(path: Path) -> dict:
    config = {}
    for where, line in read_lines(path).items():
        key, sign, value = (x.strip() for x in line.partition("="))
        if not sign:
            raise ValueError(f"{where} should be such as 'train = train.txt', is {line[:80]!r}")
        config[key] = value
    names = find_place(config.get("names", ""), [path.parent]) if config.get("names") else None
    if names is None or not names.is_file():
        raise FileNotFoundError(f"{path}: 'names' should be a file, is {config.get('names')!r}")
    if "classes" in config:
        config["nc"] = config["classes"]
    return config | {"names": _read_class_file(names), "path": ""}


class _Loader(yaml.BaseLoader):
    """Reads all values as text, so that a class can be called "no", and keys only once."""

    def construct_mapping(self, node, deep=False):
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            raise yaml.constructor.ConstructorError(
                None, None, "a key is there twice", node.start_mark
            )
        return mapping


def _read_yaml(data_yaml: Path) -> dict:
    if data_yaml.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{data_yaml} has more than {_MAX_BYTES} bytes: is it a data.yaml?")
    try:
        with data_yaml.open("rb") as file:  # whose name and line YAML's errors tell
            config = yaml.load(file, _Loader)
    except (RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{data_yaml} is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{data_yaml} should have keys and values, such as 'train' and 'names'")
    return {key: value for key, value in config.items() if value not in _NULLS}


def _class_names(config: dict, config_file: Path) -> list[str]:
    names = config.get("names")
    if isinstance(names, dict) and sorted(names) == sorted(map(str, range(len(names)))):
        names = [names[key] for key in sorted(names, key=int)]
    if not names or not _is_list_of_text(names):
        raise ValueError(f"{config_file}: 'names' should list the classes or number them from 0 on")
    _checked_names(names, f"{config_file}: 'names'")
    if config.get("nc", str(len(names))) != str(len(names)):
        raise ValueError(f"{config_file}: 'nc' should be {len(names)}, as many as 'names' has")
    return names


def _checked_names(names: list[str], where: str) -> list[str]:
    if not names or len({*names}) < len(names):
        problem = "has a name twice" if names else "has no class"
        raise ValueError(f"{where} {problem}: {', '.join(names)}")
    return names


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(x, str) for x in value)


def _num_keypoint_numbers(config: dict, config_file: Path) -> int:
    shape = config.get("kpt_shape", ["0", "0"])
    if not _is_list_of_text(shape) or len(shape) != 2 or not all(map(_KEYPOINTS.fullmatch, shape)):
        raise ValueError(f"{config_file}: 'kpt_shape' should be such as [17, 3], is {shape}")
    return math.prod(map(int, shape))


def _find_splits(
    config: dict,
    config_file: Path,
    folders: Sequence[Path],
    lists: list[Path],
    remarks: Remarks,
) -> dict[str, list[Path]]:
    """Absolute paths of the images of each split; notes the text files that list them."""
    splits: dict[str, list[Path]] = {}
    for split in filter(config.get, _SPLITS):
        where = f"{config_file}: {split!r}"
        entries = [config[split]] if isinstance(config[split], str) else config[split]
        if not _is_list_of_text(entries):
            raise ValueError(f"{where} should be a folder, a text file, or a list of them")
        places = [find_place(entry, folders) for entry in entries]
        if split != "train" and not any(places):
            logger.warning(
                f"{where} is left out: {folders[0] / entries[0]}: no such folder or text file"
            )
            continue
        splits[split] = []
        for entry, place in zip(entries, places, strict=True):
            if place is None or not (place.is_dir() or _is_text_file(place)):
                raise FileNotFoundError(
                    f"{where}: {folders[0] / entry}: no such folder or text file"
                )
            if _is_guess(entry, place):
                logger.warning(f"{where} is {entry}, which is not there: {place} is taken")
            if place.is_file():
                lists.append(Path(os.path.abspath(place)))
                images = _listed_images(place, [place.parent, *folders], where, remarks)
            else:
                images = [x for x in walk_files(place) if is_image_name(x)]
            if not images:
                raise ValueError(f"{where}: {place} has no images")
            splits[split] += [Path(os.path.abspath(image)) for image in images]
        splits[split] = [*dict.fromkeys(splits[split])]
    return splits


def _base_folders(config: dict, config_file: Path) -> list[Path]:
    """What paths are relative to: the folder that a file names and the folder that it is in."""
    folder = config.get("path", "")
    if not isinstance(folder, str):
        raise ValueError(f"{config_file}: 'path' should be a folder, is {folder}")
    if not folder:
        return [config_file.parent]
    place = find_place(folder, [config_file.parent])
    if place is None or not place.is_dir():
        logger.warning(
            f"{config_file}: 'path' is {folder}, which is not there: {config_file.parent} is taken"
        )
        return [config_file.parent]
    return [place, config_file.parent]


def _is_text_file(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() == ".txt"


def _is_guess(entry: str, place: Path) -> bool:
    parts = path_parts(entry.removeprefix("data/"))
    return bool(parts) and Path(os.path.abspath(place)).parts[-len(parts) :] != parts


def _listed_images(path: Path, folders: Sequence[Path], where: str, remarks: Remarks) -> list[Path]:
    images = []
    for line_place, line in read_lines(path).items():
        image = find_place(line, folders)
        if image is None or not image.is_file():
            raise FileNotFoundError(f"{where}: {line_place}: {line}: no such image")
        if _is_guess(line, image):
            remarks.add("images whose list names other folders", line_place)
        images.append(Path(os.path.abspath(image)))
    return list(dict.fromkeys(images))
