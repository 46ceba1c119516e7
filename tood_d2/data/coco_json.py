"""Data sets in COCO's JSON form, registered by their files."""

import json
import os

from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog
from detectron2.data.datasets import load_coco_json

_FIELDS = {
    "images": {"id", "file_name", "width", "height"},
    "annotations": {"id", "image_id", "category_id", "bbox"},
    "categories": {"id", "name"},
}
"""What the items of a JSON file in COCO's form have at least."""


def _check(json_file: str, image_root: str) -> None:
    if not os.path.isfile(json_file):
        raise FileNotFoundError(f"{json_file}: no such annotation file")
    if not os.path.isdir(image_root):
        raise FileNotFoundError(
            f"{image_root}: no such folder, it should hold {json_file}'s images"
        )
    with open(json_file) as f:
        try:
            content = json.load(f)
        except ValueError as error:
            raise ValueError(f"{json_file} is not JSON: {error}") from error
    for key in _FIELDS:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(f"{json_file} is not in COCO's form: it has no list {key!r}")
    for key in ("images", "categories"):
        if not content[key]:
            raise ValueError(f"{json_file}: {key!r} is empty")
    for key, fields in _FIELDS.items():
        for item in content[key]:
            missing = fields - item.keys()
            if missing:
                raise ValueError(
                    f"{json_file}: {item} in {key!r} has no {', '.join(sorted(missing))}"
                )
    for image in content["images"]:
        path = os.path.join(image_root, image["file_name"])
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{path}: no such image, though {json_file} lists it")


def register_coco_json(json_file: str, image_root: str) -> Metadata:
    """Registers a data set under the path of its JSON file, checked and loaded at once.

    Unlike ``detectron2.data.datasets.register_coco_instances`` this makes the classes
    known before training starts. Registering the same file again has no effect.

    Args:
        json_file: annotations in COCO's form. Category ids may have gaps.
        image_root: folder that the images' file names are relative to.

    Returns:
        Metadata with ``thing_classes``, the class names by ascending category id.

    Raises:
        FileNotFoundError: if the file, the folder or an image is missing.
        ValueError: if the file is not in COCO's form.
    """
    if json_file not in DatasetCatalog:
        _check(json_file, image_root)
        dicts = load_coco_json(json_file, image_root, json_file)  # fills in the metadata
        DatasetCatalog.register(json_file, lambda: dicts)
        MetadataCatalog.get(json_file).set(
            json_file=json_file, image_root=image_root, evaluator_type="coco"
        )
    return MetadataCatalog.get(json_file)
