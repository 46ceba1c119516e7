"""Data sets in COCO's JSON form, registered by their files."""

import os
from operator import itemgetter

from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog
from detectron2.structures import BoxMode
from detectron2.utils import comm

from .reading import read_sound_coco


def register_coco_json(json_file: str, image_root: str) -> Metadata:
    """Registers a data set under the path of its JSON file, checked and loaded at once.

    So classes are known before training. Registering the same file again has no effect. Of several
    processes, one on each machine looks for the images.

    Args:
        json_file: annotations in COCO's form. Category ids may have gaps.
        image_root: folder that the images' file names are relative to.

    Returns:
        Metadata with ``thing_classes``, the class names by ascending category id.

    Raises:
        FileNotFoundError, ValueError: see :func:`.read_sound_coco`.
    """
    if json_file not in DatasetCatalog:
        content = read_sound_coco(json_file, image_root if comm.get_local_rank() == 0 else None)
        categories = sorted(content["categories"], key=itemgetter("id"))
        labels = {category["id"]: label for label, category in enumerate(categories)}
        dicts = _dataset_dicts(content, image_root, labels)
        DatasetCatalog.register(json_file, lambda: dicts)
        MetadataCatalog.get(json_file).set(
            thing_classes=[category["name"] for category in categories],
            thing_dataset_id_to_contiguous_id=labels,
            json_file=json_file,
            image_root=image_root,
            evaluator_type="coco",
        )
    return MetadataCatalog.get(json_file)


def _dataset_dicts(content: dict, image_root: str, labels: dict) -> list[dict]:
    """Detectron2's dataset dicts, as its ``load_coco_json`` makes them, but without keypoints."""
    records = {
        image["id"]: {
            "file_name": os.path.join(image_root, image["file_name"]),
            "height": image["height"],
            "width": image["width"],
            "image_id": image["id"],
            "annotations": [],
        }
        for image in sorted(content["images"], key=itemgetter("id"))
    }
    for annotation in content["annotations"]:
        record = {key: annotation[key] for key in ("iscrowd", "bbox") if key in annotation}
        record["category_id"] = labels[annotation["category_id"]]
        record["bbox_mode"] = BoxMode.XYWH_ABS
        if annotation.get("segmentation"):  # for mappers of the user's that read masks
            record["segmentation"] = annotation["segmentation"]
        records[annotation["image_id"]]["annotations"].append(record)
    return list(records.values())
