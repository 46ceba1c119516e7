"""Images with labelled boxes, as content of JSON files in COCO's form.

COCO's boxes are (x, y, width, height) in pixels; (0, 0) is the image's top left corner.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from ..images import open_image, oriented_size
from .remarks import Remarks

TOLERANCE = 1  # pixels that a box may reach out of its image without a remark


class Conversion(NamedTuple):
    """A data set in COCO's form."""

    image_root: Path  # folder that the images' file names are relative to
    splits: dict[str, dict]  # content of a JSON file for each split, by its name


class LabelledBox(NamedTuple):
    """An object."""

    class_name: str
    box: list[float]  # x, y, width, height in pixels
    where: str  # file and place in it


class LabelledImage(NamedTuple):
    """An image with its objects."""

    path: Path
    size: tuple[int, int]  # width and height in pixels, as Detectron2 reads the image
    objects: list[LabelledBox]


def read_size(path: Path) -> tuple[int, int]:
    """Reads width and height of an image, turned as its EXIF data say, without decoding it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no image.
    """
    with open_image(path) as image:
        return oriented_size(image)


def overhang(box: Sequence[float], size: tuple[int, int]) -> float:
    """Pixels that a box reaches out of its image at the side where it is most."""
    x, y, width, height = box
    return max(-x, -y, x + width - size[0], y + height - size[1])


def read_images(
    splits: dict[str, Iterable[Path]], read: Callable[[Path], LabelledImage], remarks: Remarks
) -> dict[Path, LabelledImage]:
    """Reads the images of all splits, each once.

    Args:
        splits: the images of each split.
        read: reads an image with its objects.
        remarks: takes up the boxes that are left out.
    """
    paths = dict.fromkeys(path for paths in splits.values() for path in paths)
    images = {}
    for path in tqdm(paths, unit="img", disable=None):
        image = read(path)
        images[path] = image._replace(objects=_sound(image, remarks))
    return images


def to_coco(
    splits: dict[str, Iterable[Path]],
    images: dict[Path, LabelledImage],
    looked_for: str,
    class_names: Sequence[str] | None = None,
) -> Conversion:
    """Builds the content of a JSON file for each split.

    Args:
        splits: the images of each split.
        images: by their paths.
        looked_for: what and where, to say if nothing is found.
        class_names: the first gets the category id 1; by default those of the objects, sorted.

    Raises:
        ValueError: if there is no box.
    """
    if not any(image.objects for image in images.values()):
        raise ValueError(f"there is no box in {len(images)} images: looked for {looked_for}")
    if class_names is None:
        names = {x.class_name for image in images.values() for x in image.objects}
        class_names = sorted(names)
    image_root = Path(os.path.commonpath([os.path.abspath(path.parent) for path in images]))
    contents = {
        split: _content([images[path] for path in paths], class_names, image_root)
        for split, paths in splits.items()
    }
    return Conversion(image_root, contents)


def _sound(image: LabelledImage, remarks: Remarks) -> list[LabelledBox]:
    """The objects that training could use."""
    objects = []
    for item in image.objects:
        x, y, width, height = item.box
        if min(width, height) <= 0:
            remarks.add("boxes without area, left out", item.where)
        elif x >= image.size[0] or y >= image.size[1] or x + width <= 0 or y + height <= 0:
            remarks.add("boxes outside of their image, left out", item.where)
        else:
            objects.append(item)
            if (pixels := overhang(item.box, image.size)) > TOLERANCE:
                where = f"{item.where}, by {pixels:.4g} pixels"
                remarks.add("boxes that reach out of their image, kept", where)
    return objects


def _content(images: list[LabelledImage], class_names: Sequence[str], image_root: Path) -> dict:
    category_ids = {name: i for i, name in enumerate(class_names, start=1)}
    image_items, annotations = [], []
    for image_id, (path, (width, height), objects) in enumerate(images, start=1):
        file_name = Path(os.path.relpath(path, image_root)).as_posix()
        item = {"id": image_id, "file_name": file_name, "width": width, "height": height}
        image_items.append(item)
        for name, box, _ in objects:
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
