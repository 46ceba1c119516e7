"""Images with labelled boxes, as content of JSON files in COCO's form.

COCO's boxes are (x, y, width, height) in pixels; (0, 0) is the image's top left corner.
"""

import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from tqdm import tqdm

from ..coco.image_checking import oriented_size

IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


class Conversion(NamedTuple):
    """A data set in COCO's form."""

    image_root: Path  # folder that the images' file names are relative to
    splits: dict[str, dict]  # content of a JSON file for each split, by its name


class LabelledImage(NamedTuple):
    """An image with its objects."""

    path: Path
    size: tuple[int, int]  # width and height in pixels, as Detectron2 reads the image
    objects: list[tuple[str, list[float]]]  # class name and box (x, y, width, height) of each


def read_size(path: Path) -> tuple[int, int]:
    """Reads width and height of an image, turned as its EXIF data says, without decoding it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no image.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such image")
    try:
        with Image.open(path) as image:
            return oriented_size(image)[:2]
    except Exception as error:  # Pillow's decoders raise errors of many types
        raise ValueError(f"{path} is not an image: {error}") from error


def find_images(folder: Path) -> list[Path]:
    """Lists the image files in a folder and its sub-folders, sorted; not hidden ones."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )


def read_lines(path: Path) -> dict[str, str]:
    """Reads the lines of a text file that are not blank, by their place, such as "a.txt, line 1".

    Raises:
        ValueError: if it is no text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file: {error}") from error
    return {f"{path}, line {i}": line.strip() for i, line in enumerate(lines, 1) if line.strip()}


def convert_images(
    splits: dict[str, Iterable[Hashable]],
    read: Callable[[Hashable], LabelledImage],
    image_root: Path,
    class_names: Sequence[str] | None = None,
) -> Conversion:
    """Reads the images, each once, and builds the content of a JSON file for each split.

    Args:
        splits: what ``read`` takes for the images of each split.
        read: reads an image.
        image_root: folder that all images are in.
        class_names: the first gets the category id 1; by default those of the objects, sorted.
    """
    keys = dict.fromkeys(key for keys in splits.values() for key in keys)
    images = {key: read(key) for key in tqdm(keys, unit="img", disable=None)}
    if class_names is None:
        class_names = sorted({name for image in images.values() for name, _ in image.objects})
    contents = {
        split: _to_coco([images[key] for key in keys], class_names, image_root)
        for split, keys in splits.items()
    }
    return Conversion(image_root, contents)


def _to_coco(images: list[LabelledImage], class_names: Sequence[str], image_root: Path) -> dict:
    category_ids = {name: i for i, name in enumerate(class_names, start=1)}
    image_items, annotations = [], []
    for image_id, (path, (width, height), objects) in enumerate(images, start=1):
        file_name = Path(os.path.relpath(path, image_root)).as_posix()
        item = {"id": image_id, "file_name": file_name, "width": width, "height": height}
        image_items.append(item)
        for name, box in objects:
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": category_ids[name],
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            annotations.append(annotation)
    return {
        "info": {},
        "licenses": [],
        "images": image_items,
        "annotations": annotations,
        "categories": [{"id": id_, "name": name} for name, id_ in category_ids.items()],
    }
