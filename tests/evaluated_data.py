"""Awkward data with what the project's evaluator leaves of detections in them.

A cat (category 3) in an image in a folder, a dog (9) in another, nothing in the last.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from tood_d2.data import register_coco_json
from tood_d2.evaluation import IllustratedCOCOEvaluator

CAT, DOG = range(2)
# By image, (class, score, box XYXY).
DETECTIONS = {
    "sub/a.png": [
        (CAT, 0.75, [10, 10, 40, 25.5])
    ],  # 31 / 40 of the cat: right up to an IoU of 0.75
    "b.png": [(DOG, 0.5, [0, 0, 64, 48])],
    "empty.png": [(DOG, 0.875, [5, 0, 30, 20])],
}
AP = 100 * (0.6 + 0.5) / 2  # cats: 6 of 10 thresholds; dogs: right once in two


class EvaluatedData(NamedTuple):
    """Files of the data and of the evaluation."""

    json_file: Path
    images: Path
    results: Path
    ap: float


def make_evaluated_data(folder: Path, content: dict, id_of: type) -> EvaluatedData:
    """Writes the data, and evaluates :data:`DETECTIONS`.

    Args:
        folder: for all files.
        content: of the fixture of that name; it is changed.
        id_of: makes the image ids of its numbers.
    """
    content["images"].append({"id": 31, "file_name": "empty.png", "width": 50, "height": 40})
    for x in content["images"]:
        x["id"] = id_of(x["id"])
        path = folder / "images" / x["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((x["height"], x["width"], 3), np.uint8)).save(path)
    for x in content["annotations"]:
        x["image_id"] = id_of(x["image_id"])
    json_file = folder / "data.json"
    json_file.write_text(json.dumps(content))

    name = str(json_file)
    register_coco_json(name, str(folder / "images"))
    try:
        evaluator = IllustratedCOCOEvaluator(name, ["bbox"], output_dir=str(folder / "inference"))
        evaluator.reset()
        for x in content["images"]:
            classes, scores, boxes = zip(*DETECTIONS[x["file_name"]], strict=True)
            found = Instances((x["height"], x["width"]), scores=torch.tensor(scores))
            found.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32))
            found.pred_classes = torch.tensor(classes)
            evaluator.process([{"image_id": x["id"]}], [{"instances": found}])
        ap = evaluator.evaluate()["bbox"]["AP"]
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    results = folder / "inference" / "coco_instances_results.json"
    return EvaluatedData(json_file, folder / "images", results, ap)
