"""What fixing changes, and that no problem which it can solve is left, whatever the data."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detectron2.data.datasets import load_coco_json
from tood_d2.data import get_training_dicts
from tood_d2.data.coco.annotation_arrays import annotation_arrays
from tood_d2.data.coco.checking import check_annotations
from tood_d2.data.coco.fixing import TooMuchLost, fix, turn_box
from tood_d2.data.coco.suitability import check_against, check_matching
from tood_d2.data.images import read_image


def annotation(id_, bbox=(10, 10, 30, 20), **changes):
    return {
        "id": id_,
        "image_id": 7,
        "category_id": 3,
        "bbox": list(bbox),
        "area": bbox[2] * bbox[3],
        "iscrowd": 0,
    } | changes


def check(content):
    return check_annotations(content, "x.json")


class TestFix:
    def test_boxes_are_clipped_to_their_image(self, content):
        content["annotations"] += [
            annotation(6, (-3, 70, 10, 20)),
            annotation(8, (90, -5, 20, 105), segmentation=[[0, 0, 1, 0, 1, 1]], area=600),
        ]
        fixed, changes = fix(content, [], "x.json")
        clipped, masked = fixed["annotations"][2:]
        assert (clipped["bbox"], clipped["area"]) == ([0, 70, 7, 10], 70)
        assert (masked["bbox"], masked["area"]) == ([90, 0, 10, 80], 600)
        assert "annotation 6" in changes[0] and "[0.0, 70.0, 7.0, 10.0]" in changes[0]

    def test_boxes_that_clipping_makes_equal_are_dropped(self, content):
        content["annotations"] += [annotation(6, (90, 0, 15, 9)), annotation(8, (90, 0, 10, 9))]
        fixed, changes = fix(content, [], "x.json")
        assert [x["id"] for x in fixed["annotations"]] == [1, 5, 6]
        assert len(changes) == 2

    def test_repeated_ids_are_replaced(self, content):
        content["annotations"] += [annotation(i, (x, 2, 9, 9)) for x, i in enumerate((5, 5, 0, 4))]
        fixed, changes = fix(content, [], "x.json")
        assert [x["id"] for x in fixed["annotations"]] == [1, 5, 6, 7, 8, 4]
        assert len(changes) == 3

    def test_an_annotation_with_several_problems_is_dropped_once(self, content):
        content["annotations"].append(annotation(1, (1, 2, 0, 4), image_id=8))
        fixed, changes = fix(content, [], "x.json")
        assert check(fixed) == [] and len(fixed["annotations"]) == 2
        assert [x for x in changes if "dropped" in x] == changes

    def test_a_missing_box_is_that_of_the_polygons(self, content):
        polygons = [[5, 6, 25, 6, 25, 16], [10, 4, 30, 4, 30, 9]]
        for bbox in (None, [], [5, 6, 0, 10], ["x", 6, 20, 10]):
            content["annotations"][0] |= {"bbox": bbox, "segmentation": polygons}
            fixed, changes = fix(content, [], "x.json")
            assert fixed["annotations"][0]["bbox"] == [5, 4, 25, 12]
            assert "now bbox [5, 4, 25, 12]" in changes[0]
            assert len(fixed["annotations"]) == 2 and check(fixed) == []

    def test_corners_may_be_swapped(self, content):
        content["annotations"][0]["bbox"] = [40, 10, -30, 20]
        fixed, _ = fix(content, [], "x.json")
        assert fixed["annotations"][0]["bbox"] == [10, 10, 30, 20]

    def test_one_loss_is_allowed_in_small_data(self, content):
        content["annotations"].append(annotation(6, (300, 2, 3, 4)))
        fixed, changes = fix(content, [], "x.json")
        assert len(fixed["annotations"]) == 2 and "annotation 6: dropped: box" in changes[0]
        content["annotations"].append(annotation(8, (300, 2, 3, 5)))
        with pytest.raises(TooMuchLost, match="x.json: fixing would drop 2 of 4 annotations"):
            fix(content, [], "x.json")

    def test_what_it_cannot_solve_stays(self, content):
        content["images"].append(content["images"][0] | {"file_name": "c"})
        fixed, changes = fix(content, [], "x.json")
        assert (fixed, changes) == (content, [])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_like_their_images(orientation, tmp_path):
    pixels = np.zeros((20, 30), np.uint8)
    pixels[3:7, 5:15] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    rows, columns, _ = np.nonzero(read_image(tmp_path / "a.png", "L"))
    x, y, width, height = turn_box([5, 3, 10, 4], 30, 20, orientation)
    assert (columns.min(), rows.min()) == (x, y)
    assert (columns.max() + 1, rows.max() + 1) == (x + width, y + height)


def random_content(rng, num_images, num_annotations):
    """A data set with about as many good boxes as bad ones."""
    bbox = np.round(rng.uniform(-30, 100, (num_annotations, 4)))
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": int(w), "height": int(h)}
            for i, (w, h) in enumerate(rng.integers(20, 100, (num_images, 2)))
        ],
        "annotations": [
            annotation(
                int(rng.integers(-2, num_annotations)),
                box.tolist(),
                image_id=int(rng.integers(num_images + 1)),
                category_id=int(rng.integers(3)),
            )
            for box in bbox
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


@pytest.mark.parametrize("seed", range(10))
def test_fixed_random_data_have_no_problems_left(seed, tmp_path, monkeypatch):
    content = random_content(np.random.default_rng(seed), 10, 100)
    fixed, changes = fix(content, [], "x.json", max_lost=1)
    assert {x.kind for x in check(fixed)} <= {"small-image"}
    assert len(changes) >= 100 - len(fixed["annotations"]) > 10
    assert fix(fixed, [], "x.json") == (fixed, [])
    with pytest.raises(TooMuchLost, match=r"drop \d\d of 100 annotations, more than 5%"):
        fix(content, [], "x.json")

    # Detectron2 loads it, and training uses the same boxes as is said here.
    (tmp_path / "x.json").write_text(json.dumps(fixed))
    records = load_coco_json(str(tmp_path / "x.json"), "images", f"test_checking_{seed}")
    monkeypatch.setattr(
        "tood_d2.data.loading.filtering.get_detection_dataset_dicts",
        lambda *args, **kwargs: records,
    )
    used = sum(len(x["annotations"]) for x in get_training_dicts("x"))
    assert used == annotation_arrays(fixed).trainable().sum() > 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 20) | st.floats() | st.sampled_from(["", "7", "a"]),
    lambda x: (
        st.lists(x, max_size=4) | st.dictionaries(st.sampled_from(["id", "x"]), x, max_size=2)
    ),
    max_leaves=4,
)


@given(st.data())
def test_no_value_makes_checks_or_fixing_fail(data):
    """Nothing that JSON can hold makes the checks fail, or lets fixing leave a bad annotation."""
    content = random_content(np.random.default_rng(0), 3, 6)
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(["images", "annotations", "categories"]))
        position = data.draw(st.integers(0, 1))
        field = data.draw(st.sampled_from([None, *content["annotations"][2], "width", "file_name"]))
        value = data.draw(json_values)
        if field is None or not isinstance(content[key][position], dict):
            content[key][position] = value
        else:
            content[key][position][field] = value
    problems = check(content) + check_matching(content, "x.json", 800, 1333)
    problems += check_against(content, content, "x.json", "y.json")
    assert all(x.kind and x.where and x.message for x in problems)
    fixed, _ = fix(content, [], "x.json", max_lost=1)
    left = {x.item for x in check(fixed) if x.item and x.item[0] == "annotations"}
    assert not left
    json.dumps(fixed)
