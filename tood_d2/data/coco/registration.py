"""Data sets in COCO's JSON form, registered by their files."""

import json
import logging
import os
from collections import Counter

from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog
from detectron2.data.datasets import load_coco_json

from .checking import check_annotations

MAX_NAMED = 5  # problems
_HINT = "tools/dataset.py check shows all of them and --fix solves many"

logger = logging.getLogger(__name__)


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
        except (RecursionError, ValueError) as error:
            raise ValueError(f"{json_file} is not JSON: {error}") from error
    # Whether there is a box to train on is asked when it is known that the data are for training.
    problems = check_annotations(content, json_file, training=False)
    fatal = [f"{x.where}: {x.message}" for x in problems if x.fatal]
    if fatal:
        rest = f"; and {len(fatal) - MAX_NAMED} more" if len(fatal) > MAX_NAMED else ""
        raise ValueError("; ".join(fatal[:MAX_NAMED]) + rest + f" ({_HINT})")
    if problems:
        kinds = Counter(x.kind for x in problems)
        counts = ", ".join(f"{kind} ({number})" for kind, number in kinds.items())
        logger.warning(f"{json_file} has problems: {counts}; {_HINT}")
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
        ValueError: if the file is not in COCO's form or has problems that would spoil training;
            lesser ones are logged.
    """
    if json_file not in DatasetCatalog:
        _check(json_file, image_root)
        dicts = load_coco_json(json_file, image_root, json_file)  # fills in the metadata
        DatasetCatalog.register(json_file, lambda: dicts)
        MetadataCatalog.get(json_file).set(
            json_file=json_file, image_root=image_root, evaluator_type="coco"
        )
    return MetadataCatalog.get(json_file)
