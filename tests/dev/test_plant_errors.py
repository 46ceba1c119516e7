"""Errors planted in a grid of boxes, and counted among suspects made by hand."""

import json
import sys

import numpy as np
import plant_errors
import pytest
from pycocotools import mask as mask_util


@pytest.fixture
def content():
    """100 boxes of 10 x 10 pixels in one image, of three classes in turn."""
    return {
        "images": [{"id": 4, "file_name": "a.png", "width": 200, "height": 200}],
        "annotations": [
            {
                "id": i,
                "image_id": 4,
                "category_id": i % 3,
                "bbox": [i % 10 * 20, i // 10 * 20, 10, 10],
            }
            for i in range(100)
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate("abc")],
    }


def test_a_third_of_the_errors_is_of_each_kind(content):
    planted, errors = plant_errors.plant(content, 0.09, seed=0)
    before, after = ({x["id"]: x for x in c["annotations"]} for c in (content, planted))
    assert [x["kind"] for x in errors] == [*plant_errors.KINDS] * 3
    changed = {id_ for id_ in before if before[id_] != after.get(id_)}
    assert changed == {x["annotation_id"] for x in errors} and len(changed) == 9
    for error in errors:
        old, new = (boxes.get(error["annotation_id"]) for boxes in (before, after))
        assert (error["bbox"], error["category"]) == (old["bbox"], "abc"[old["category_id"]])
        if error["kind"] == "overlooked":
            assert new is None
        elif error["kind"] == "badly placed":
            assert new["category_id"] == old["category_id"]
            iou = mask_util.iou([new["bbox"]], [old["bbox"]], [0]).item()
            assert 0.3 <= iou <= 0.5
            x, y, width, height = new["bbox"]
            assert min(x, y) >= 0 and max(x + width, y + height) <= 200
        else:
            assert new["bbox"] == old["bbox"] and new["category_id"] != old["category_id"]


def test_the_choice_follows_from_the_seed(content):
    first, same, other = (plant_errors.plant(content, 0.1, seed) for seed in (0, 0, 1))
    assert first == same != other


def test_a_single_class_cannot_be_wrong(content):
    for annotation in content["annotations"]:
        annotation["category_id"] = 0
    content["categories"] = content["categories"][:1]
    _, errors = plant_errors.plant(content, 0.04, seed=0)
    assert [x["kind"] for x in errors] == ["overlooked", "badly placed"] * 2


def suspect(annotation_id=None, bbox=None, pred_bbox=(0, 0, 10, 10), file_name="a.png"):
    return {
        "annotation_id": annotation_id,
        "bbox": bbox,
        "pred_bbox": [*pred_bbox],
        "file_name": file_name,
    }


def error(kind, id_, x=0):
    return {"kind": kind, "annotation_id": id_, "bbox": [x, 0, 10, 10], "file_name": "a.png"}


def test_changed_annotations_are_found_by_their_ids():
    errors = [error("badly placed", 3), error("wrong class", 4)]
    assert plant_errors.find(errors, [suspect(4, [0, 0, 1, 1])]) == [False, True]


def test_overlooked_objects_are_found_by_their_boxes():
    errors = [error("overlooked", 3), error("overlooked", 4, x=50)]
    # IoU of 80 / 120 with the first one.
    assert plant_errors.find(errors, [suspect(pred_bbox=(2, 0, 10, 10))]) == [True, False]
    elsewhere = [
        suspect(file_name="b.png"),
        suspect(5, [0, 0, 10, 10]),
        suspect(pred_bbox=(5, 0, 10, 10)),
    ]
    assert plant_errors.find(errors, elsewhere) == [False, False]


def test_score_counts_the_first_suspects_of_all_parts(content, tmp_path, monkeypatch, capsys):
    def run(*argv):
        monkeypatch.setattr(sys, "argv", ["plant_errors.py", *map(str, argv)])
        assert plant_errors.main() == 0
        return capsys.readouterr().out

    (tmp_path / "sound.json").write_text(json.dumps(content))
    assert "1 overlooked, 1 badly placed, 1 wrong class" in run(
        "plant", tmp_path / "sound.json", tmp_path / "errors", "--share", 0.03
    )
    overlooked, moved, swapped = json.loads((tmp_path / "errors" / "errors.json").read_text())
    suspects = [
        [suspect(moved["annotation_id"], [0, 0, 1, 1]), suspect(swapped["annotation_id"], [0])],
        [suspect(pred_bbox=overlooked["bbox"])],
    ]
    for name, part in zip("ab", suspects, strict=True):
        (tmp_path / f"{name}.json").write_text(json.dumps(part))
    # Two of the 99 boxes: the first suspect of each part.
    table = run(
        "score", tmp_path / "errors", tmp_path / "a.json", tmp_path / "b.json", "--first", 0.02
    )
    rows = [line.split() for line in table.splitlines()[3:]]
    assert table.startswith("3 suspects for 99 boxes, of which 2 count")
    assert np.array([row[-4:] for row in rows]).tolist() == [
        ["1", "1", "1", "100%"],
        ["1", "1", "1", "100%"],
        ["1", "0", "1", "0%"],
        ["3", "2", "3", "67%"],
    ]
