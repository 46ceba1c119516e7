"""Detections as COCO's results."""

import pytest
import torch

from detectron2.structures import Boxes, Instances
from tood_d2.evaluation import coco_results


def instances(*rows):
    """Rows of (class, score, box)."""
    classes, scores, boxes = zip(*rows, strict=True) if rows else ((), (), ())
    return Instances(
        (100, 100),
        pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float).reshape(-1, 4)),
        scores=torch.tensor(scores),
        pred_classes=torch.tensor(classes, dtype=torch.int64),
    )


def test_results_have_names_and_ids():
    detections = instances((1, 0.5, [10, 20, 40, 60]), (0, 0.25, [0, 0, 1, 1]))
    assert coco_results(detections, "a.jpg", ["cat", "dog"], [3, 9]) == [
        {
            "image_id": "a",
            "file_name": "a.jpg",
            "category_id": 9,
            "category_name": "dog",
            "bbox": [10, 20, 30, 40],
            "score": 0.5,
        },
        {
            "image_id": "a",
            "file_name": "a.jpg",
            "category_id": 3,
            "category_name": "cat",
            "bbox": [0, 0, 1, 1],
            "score": 0.25,
        },
    ]


@pytest.mark.parametrize(
    ("file_name", "image_id"), [("000000000139.jpg", 139), ("12a.jpg", "12a"), ("²", "²")]
)
def test_digits_become_a_number(file_name, image_id):
    (result,) = coco_results(instances((0, 0.5, [0, 0, 1, 1])), file_name, ["cat"], [1])
    assert result["image_id"] == image_id


def test_without_detections_there_are_no_results():
    assert coco_results(instances(), "a.jpg", ["cat"], [1]) == []
