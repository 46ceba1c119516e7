"""Suspects among hand-made annotations and detections; all boxes are 10 x 10 pixels."""

import pytest

from tood_d2.inspection.suspects import find_suspects

NAMES = ("cat", "dog")


def annotation(id_, x, y, name="cat", **fields):
    box = {"id": id_, "image_id": 1, "category_id": NAMES.index(name), "bbox": [x, y, 10, 10]}
    return box | fields


def detection(x, y, score, name="cat"):
    return {"category_name": name, "bbox": [x, y, 10, 10], "score": score}


def find(annotations, *detections):
    content = {
        "images": [{"id": i, "file_name": f"{i}.png"} for i in range(1, len(detections) + 1)],
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(NAMES)],
    }
    return find_suspects(content, detections)


def brief(suspects):
    return [(x.kind, x.annotation_id, pytest.approx(x.score)) for x in suspects]


def test_what_model_and_annotation_agree_on_is_not_suspected():
    assert find([annotation(1, 0, 0)], [detection(0, 0, 0.9)]) == []


def test_a_detection_without_an_annotation_is_an_overlooked_object():
    (suspect,) = find([annotation(1, 0, 0)], [detection(0, 0, 0.9), detection(50, 60, 0.8, "dog")])
    assert suspect._asdict() == {
        "kind": "overlooked",
        "score": 0.8,
        "file_name": "1.png",
        "image_id": 1,
        "annotation_id": None,
        "category": None,
        "bbox": None,
        "pred_category": "dog",
        "pred_bbox": [50, 60, 10, 10],
        "pred_score": 0.8,
    }


def test_an_overlooked_object_counts_less_the_more_it_overlaps_an_annotation():
    annotations = [annotation(1, 0, 0)]
    suspects = find(annotations, [detection(0, 0, 0.9), detection(5, 0, 0.6)])
    assert brief(suspects) == [("overlooked", None, 0.6 * (1 - 50 / 150))]


def test_an_overlooked_object_is_listed_once():
    detections = [detection(0, 0, 0.7), detection(1, 0, 0.8, "dog"), detection(5, 0, 0.5)]
    # IoU of the first two: 90 / 110. Of the second and the third: 60 / 140.
    assert brief(find([], detections)) == [("overlooked", None, 0.8), ("overlooked", None, 0.5)]


@pytest.mark.parametrize("shift, iou", [(2, 80 / 120), (5, 50 / 150), (8, 20 / 180)])
def test_a_box_beside_its_detection_is_badly_placed(shift, iou):
    (suspect,) = find([annotation(7, 0, 0)], [detection(shift, 0, 0.9)])
    assert brief([suspect]) == [("badly placed", 7, 0.9 * (1 - iou))]
    assert (suspect.category, suspect.bbox) == ("cat", [0, 0, 10, 10])
    assert suspect.pred_bbox == [shift, 0, 10, 10]


def test_the_detection_of_a_neighbour_does_not_speak_against_a_box():
    annotations = [annotation(1, 0, 0), annotation(2, 5, 0)]
    assert find(annotations, [detection(5, 0, 0.9)]) == []


def test_the_best_detection_of_a_box_counts():
    # Products of score and IoU: 0.8 * 80 / 120 and 0.3.
    suspects = find([annotation(1, 0, 0)], [detection(2, 0, 0.8), detection(0, 0, 0.3)])
    assert ("badly placed", 1, pytest.approx(0.8 * 40 / 120)) in brief(suspects)


@pytest.mark.parametrize("own", [0, 0.3])
def test_another_class_that_fits_better_makes_the_class_wrong(own):
    detections = [detection(0, 0, 0.8, "dog"), *([detection(0, 0, own)] if own else [])]
    (suspect,) = find([annotation(1, 0, 0)], detections)
    assert brief([suspect]) == [("wrong class", 1, 0.8 - own)]
    assert (suspect.category, suspect.pred_category) == ("cat", "dog")


def test_a_detection_that_speaks_against_a_class_is_no_overlooked_object():
    # The cat matches the annotation, the dog has an IoU of 80 / 120.
    detections = [detection(0, 0, 0.2), detection(2, 0, 0.9, "dog")]
    suspects = find([annotation(1, 0, 0)], detections)
    assert brief(suspects) == [("wrong class", 1, 0.9 * 80 / 120 - 0.2)]


def test_a_class_that_fits_worse_says_nothing():
    detections = [detection(0, 0, 0.8), detection(0, 0, 0.7, "dog")]
    assert find([annotation(1, 0, 0)], detections) == []


def test_crowds_are_not_suspected_nor_what_is_in_them():
    crowd = annotation(1, 0, 0, bbox=[0, 0, 100, 100], iscrowd=1)
    assert find([crowd], [detection(0, 0, 0.9), detection(50, 50, 0.8)]) == []


def test_the_kinds_take_turns_each_by_falling_score():
    annotations = [annotation(1, 0, 0), annotation(2, 50, 0), annotation(3, 0, 50, image_id=2)]
    first = [detection(0, 0, 0.5, "dog"), detection(50, 0, 0.9, "dog"), detection(80, 80, 0.3)]
    second = [detection(5, 50, 0.9), detection(80, 80, 0.4), detection(50, 80, 0.2)]
    suspects = find(annotations, first, second)
    assert brief(suspects) == [
        ("overlooked", None, 0.4),
        ("badly placed", 3, 0.9 * (1 - 50 / 150)),
        ("wrong class", 2, 0.9),
        ("overlooked", None, 0.3),
        ("wrong class", 1, 0.5),
        ("overlooked", None, 0.2),
    ]
    assert [x.file_name for x in suspects[:3]] == ["2.png", "2.png", "1.png"]


def test_detections_of_classes_that_the_file_lacks_do_not_count():
    assert find([annotation(1, 0, 0)], [detection(0, 0, 0.9, "cow")]) == []


def test_images_without_detections_or_annotations():
    assert find([annotation(1, 0, 0)], []) == []
    assert find([], []) == []
    assert find([]) == []
