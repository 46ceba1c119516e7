"""Images with labelled boxes, as content of JSON files in COCO's form.

COCO's boxes are (x, y, width, height) in pixels; (0, 0) is the image's top left corner.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ..coco.image_checking import oriented_size

IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


class Conversion(NamedTuple):
    """A data set in COCO's form."""

    image_root: Path
    """Folder that the images' file names are relative to."""
    splits: dict[str, dict]
    """Content of a JSON file for each split, by its name."""


class LabelledImage(NamedTuple):
    """An image with its objects."""

    path: Path
    size: tuple[int, int]
    """Width and height in pixels, as Detectron2 reads the image."""
    objects: list[tuple[str, list[float]]]
    """Class name and box (x, y, width, height) of each object."""


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


def read_lines(path: Path) -> dict[int, str]:
    """Reads the lines of a text file that are not blank, by their number from 1 on.

    Raises:
        ValueError: if it is no text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file: {error}") from error
    return {number: line.strip() for number, line in enumerate(lines, start=1) if line.strip()}


def to_coco(
    images: Iterable[LabelledImage], class_names: Sequence[str], image_root: str | os.PathLike
) -> dict:
    """Builds the content of a JSON file.

    Args:
        images: of one split.
        class_names: of all splits; the first gets the category id 1.
        image_root: folder that all images are in.
    """
    category_ids = {name: i for i, name in enumerate(class_names, start=1)}
    content = {
        "info": {},
        "licenses": [],
        "images": [],
        "annotations": [],
        "categories": [{"id": id_, "name": name} for name, id_ in category_ids.items()],
    }
    for image_id, image in enumerate(images, start=1):
        width, height = image.size
        file_name = Path(os.path.relpath(image.path, image_root)).as_posix()
        content["images"].append(
            {"id": image_id, "file_name": file_name, "width": width, "height": height}
        )
        for name, box in image.objects:
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": category_ids[name],
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    return content
