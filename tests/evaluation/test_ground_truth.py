"""AP does not depend on what files say of annotations besides their boxes and classes."""

import copy
import json
import math

import pytest
import torch
from PIL import Image

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, BoxMode, Instances
from tood_d2.data import register_coco_json
from tood_d2.evaluation import IllustratedCOCOEvaluator

# Two images with a cat and a dog each.
CONTENT = {
    "images": [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in (3, 8)],
    "annotations": [
        {
            "id": i,
            "image_id": 3 if i < 3 else 8,
            "category_id": 5 + i % 2,
            "bbox": [10 * i, 2, 8, 9],
            "area": 70,
            "iscrowd": 0,
        }
        for i in range(1, 5)
    ],
    "categories": [{"id": 6, "name": "dog"}, {"id": 5, "name": "cat"}],
}
# COCO's 101 recalls: one of two cats is found, without a false one before it: 51 recalls from 0 to
# 0.5 at precision 1. Of dogs both are found.
AP_CAT, AP_DOG = 100 * 51 / 101, 100
AP = (AP_CAT + AP_DOG) / 2


def detect(boxes, classes, scores):
    instances = Instances((48, 64), scores=torch.tensor(scores), pred_classes=torch.tensor(classes))
    instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    return instances


# By image, XYXY.
FOUND = [
    detect([[20, 2, 28, 11], [10, 2, 18, 11]], [0, 1], [0.9, 0.8]),
    detect([[30, 2, 38, 11]], [1], [0.7]),
]


@pytest.fixture
def evaluate(tmp_path):
    """Evaluates FOUND, or other detections, against content; the names of files are numbered."""
    names = []

    def _evaluate(content, found=FOUND, limit=100):
        name = str(tmp_path / f"{len(names)}.json")
        names.append(name)
        with open(name, "w") as file:
            json.dump(content, file)
        for image in content["images"]:
            Image.new("RGB", (64, 48)).save(tmp_path / image["file_name"])
        register_coco_json(name, str(tmp_path))
        output = f"{name}-results"
        evaluator = IllustratedCOCOEvaluator(name, ["bbox"], output_dir=output)
        evaluator.look_at(limit)
        evaluator.reset()
        records = DatasetCatalog.get(name)
        for record, instances in zip(records, found, strict=True):
            evaluator.process([record], [{"instances": instances}])
        results = evaluator.evaluate()
        with open(f"{output}/coco_instances_results.json") as file:
            return results.get("bbox"), json.load(file)

    yield _evaluate
    for name in names:
        DatasetCatalog.pop(name)
        MetadataCatalog.pop(name)


def changed(field, values):
    content = copy.deepcopy(CONTENT)
    for annotation, value in zip(content["annotations"], values, strict=True):
        annotation[field] = value
    return content


CHANGES = {
    "as it is": CONTENT,
    "id 0": changed("id", [0, 1, 2, 3]),
    "negative ids": changed("id", [-1, -2, -3, -4]),
    "equal ids": changed("id", [7, 7, 7, 7]),
    "huge ids": changed("id", [2**63, 2**64, 10**30, 2**53]),
    "ids of all kinds": changed("id", ["u1", None, 1.5, {"a": 1}]),
    "null areas": changed("area", [None] * 4),
    "text areas": changed("area", ["70", "x", "", "1e999"]),
    "areas of all kinds": changed("area", [-1, 2e10, math.nan, [1]]),
    "no crowds": changed("iscrowd", [None, False, "0", 0.0]),
    "ignored": changed("ignore", [1, True, "x", []]),
    "segmentations": changed("segmentation", [[1, 2], [[1, 2, 3]], {"counts": 5}, "x"]),
    "keypoints": changed("keypoints", [1, None, [1, 2], "x"]),
    "text numbers": changed("bbox", [[str(10 * i), "2", "8.0", 9] for i in range(1, 5)]),
    "text categories": changed("category_id", ["6", "5", "6", "5"]),
}


@pytest.mark.parametrize("content", CHANGES.values(), ids=CHANGES)
def test_other_fields_and_types_change_nothing(evaluate, content):
    results, _ = evaluate(content)
    assert results["AP"] == pytest.approx(AP)
    assert results["AP-cat"] == pytest.approx(AP_CAT) and results["AP-dog"] == pytest.approx(AP_DOG)
    assert results["APs"] == pytest.approx(AP)  # as all boxes are of 72 square pixels


@pytest.mark.parametrize("ids", [("a", "000123"), (0, 2**70), (-5, 1.5), ("7", "x y")])
def test_ids_of_images_and_categories_may_be_anything(evaluate, ids):
    content = copy.deepcopy(CONTENT)
    for key, name, old in (("images", "image_id", (3, 8)), ("categories", "category_id", (5, 6))):
        new = dict(zip(old, sorted(ids), strict=True))
        for item in content[key]:
            item["id"] = new[item["id"]]
        for annotation in content["annotations"]:
            annotation[name] = new[annotation[name]]
    results, detections = evaluate(content)
    assert results["AP"] == pytest.approx(AP) and results["AP-dog"] == pytest.approx(AP_DOG)
    assert [x["image_id"] for x in detections] == [sorted(ids)[i] for i in (0, 0, 1)]
    assert [x["category_id"] for x in detections] == [sorted(ids)[i] for i in (0, 1, 1)]


def test_crowds_are_left_out(evaluate):
    for crowd in (1, True, "1", "true"):
        results, _ = evaluate(changed("iscrowd", [0, 0, 0, crowd]))  # the cat that is not found
        assert results["AP"] == pytest.approx(100)


def test_without_annotations_there_are_results_but_no_ap(evaluate, log):
    content = {key: CONTENT[key] for key in ("images", "categories")}
    results, detections = evaluate(content)
    assert results is None and len(detections) == 3
    assert "has no annotations: results but no AP" in log.text


def test_ap_of_more_than_100_detections_is_another_one(evaluate):
    # 120 cats of 1 x 1 pixel in an image, all found: 100 of them are 5/6.
    content = copy.deepcopy(CONTENT)
    corners = [(x, y) for y in range(0, 24, 2) for x in range(0, 20, 2)]
    first = content["annotations"][0] | {"category_id": 5}
    content["annotations"] = [
        first | {"id": i, "bbox": [x, y, 1, 1]} for i, (x, y) in enumerate(corners, 1)
    ]
    boxes = [[x, y, x + 1, y + 1] for x, y in corners]
    found = [detect(boxes, [0] * 120, [0.5] * 120), detect([], [], [])]
    for limit in (50, 100):
        results, _ = evaluate(content, found, limit)
        assert results["AP"] == pytest.approx(100 * 84 / 101)  # recalls up to 0.83
    results, _ = evaluate(content, found, 300)
    assert results["AP"] == pytest.approx(results["AP-cat"]) == pytest.approx(100 * 84 / 101)
    assert results["AP@300"] == pytest.approx(100)


def test_ground_truth_is_not_from_an_earlier_run(tmp_path):
    def evaluate(box):
        record = {"file_name": "1.png", "image_id": 1, "height": 48, "width": 64}
        annotation = {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 0}
        DatasetCatalog.register("by_function", lambda: [record | {"annotations": [annotation]}])
        MetadataCatalog.get("by_function").set(thing_classes=["cat"])
        evaluator = IllustratedCOCOEvaluator("by_function", ["bbox"], output_dir=str(tmp_path))
        evaluator.reset()
        found = detect([[20, 2, 28, 11]], [0], [0.9])
        evaluator.process([record], [{"instances": found}])
        DatasetCatalog.pop("by_function")
        MetadataCatalog.pop("by_function")
        return evaluator.evaluate()["bbox"]["AP"]

    assert evaluate([20, 2, 28, 11]) == pytest.approx(100)
    assert evaluate([40, 2, 48, 11]) == 0
