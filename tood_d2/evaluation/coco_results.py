"""Detections as COCO's results."""

import os

from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Instances


def coco_results(
    instances: Instances, file_name: str, class_names: list[str], category_ids: list[int]
) -> list[dict]:
    """The detections of an image in the form that COCO's evaluation reads, with names.

    Args:
        instances: on the CPU, with ``pred_boxes``, ``scores`` and ``pred_classes``.
        file_name: of the image. Without its extension it is the image's id, a number if it has
            digits only.
        class_names, category_ids: of the classes.

    Returns:
        For each detection "image_id", "file_name", "category_id", "category_name", "bbox" (XYWH in
        pixels of the image) and "score".
    """
    stem = os.path.splitext(file_name)[0]
    image_id = int(stem) if stem.isascii() and stem.isdigit() else stem
    results = instances_to_coco_json(instances, image_id)
    for x in results:
        cls = x["category_id"]
        x |= {"category_id": category_ids[cls], "category_name": class_names[cls]}
        x["file_name"] = file_name
    return results
