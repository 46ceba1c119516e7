"""Detections in Label Studio's form, with percents worked out by hand."""

import pytest
import torch

from detectron2.structures import Boxes, Instances
from tood_d2.integrations.rectangle_labels import match_labels, mean_score, rectangle_results

LABELS = (("Cat", ()), ("dog", ()))


def detections(*rows, size=(50, 200)):
    """Instances in an image of (height, width): rows of box, score, class."""
    boxes, scores, classes = zip(*rows, strict=True) if rows else ([], [], [])
    return Instances(
        size,
        pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        scores=torch.tensor(scores, dtype=torch.float64),
        pred_classes=torch.tensor(classes, dtype=torch.int64),
    )


def test_boxes_are_percents_of_the_image():
    # 200 pixels wide, 50 high: 20 of them are 10% and 40%.
    found = detections(([20, 5, 60, 30], 0.75, 1), ([0, 0, 200, 50], 0.25, 0))
    first, second = rectangle_results(found, {0: "Cat", 1: "dog"}, "label", "image")
    assert first.pop("id") != second.pop("id")
    assert first == {
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": 200,
        "original_height": 50,
        "image_rotation": 0,
        "score": 0.75,
        "value": {
            "x": 10,
            "y": 10,
            "width": 20,
            "height": 50,
            "rotation": 0,
            "rectanglelabels": ["dog"],
        },
    }
    whole = {"x": 0, "y": 0, "width": 100, "height": 100, "rotation": 0}
    assert second["value"] == whole | {"rectanglelabels": ["Cat"]}
    assert mean_score([first, second]) == 0.5


def test_classes_without_a_label_are_left_out():
    found = detections(([0, 0, 2, 2], 0.9, 0), ([0, 0, 2, 2], 0.8, 1))
    (result,) = rectangle_results(found, {1: "dog"}, "label", "image")
    assert result["score"] == 0.8


def test_nothing_found():
    assert rectangle_results(detections(), {0: "Cat"}, "label", "image") == []
    assert mean_score([]) == 0


def test_labels_are_matched_by_name_and_else_without_regard_to_case(caplog):
    assert match_labels(("dog", "CAT"), LABELS) == {0: "dog", 1: "Cat"}
    assert match_labels(("dog", "DOG"), (("DOG", ()), ("dog", ()))) == {0: "dog", 1: "DOG"}
    assert match_labels(("Dog",), (("DOG", ()), ("dog", ()))) == {0: "DOG"}  # the first one
    assert caplog.text == ""


def test_a_label_stands_for_the_classes_that_it_names():
    labels = (("vehicle", ("car", "truck")), ("dog", ()))
    assert match_labels(("car", "Truck", "dog"), labels) == {0: "vehicle", 1: "vehicle", 2: "dog"}


def test_what_is_left_out_is_said_once(caplog):
    for _ in range(2):
        assert match_labels(("horse", "cow", "dog"), LABELS) == {2: "dog"}
    assert caplog.messages == ["the project has no label for horse, cow: left out"]


def test_nothing_in_common():
    with pytest.raises(ValueError, match="detects horse, cow, but .* are Cat, dog: none in common"):
        match_labels(("horse", "cow"), LABELS)
