"""Every kind of problem in a small data set, found by its id, and solved."""

import copy
import math
import time

import numpy as np
import pytest

from tood_d2.data.coco.checking import check_annotations
from tood_d2.data.coco.fixing import fix


def annotation(id_, bbox=(10, 10, 30, 20), **changes):
    try:
        area = bbox[2] * bbox[3]
    except (IndexError, TypeError):
        area = 600
    return {
        "id": id_,
        "image_id": 7,
        "category_id": 3,
        "bbox": list(bbox),
        "area": area,
        "iscrowd": 0,
    } | changes


def check(content, **kwargs):
    return check_annotations(content, "x.json", **kwargs)


def only(problems):
    (problem,) = problems
    return problem


class TestFine:
    def test_gaps_in_ids_and_sub_folders(self, content):
        assert check(content) == []

    def test_info_and_licences(self, content):
        assert check(content | {"info": {}, "licenses": []}) == []

    def test_text_ids(self, content):
        for image in content["images"]:
            image["id"] = f"image-{image['id']}"
        for x in content["annotations"]:
            x["image_id"] = f"image-{x['image_id']}"
        assert check(content) == []

    def test_box_up_to_one_pixel_outside(self, content):
        content["annotations"].append(annotation(6, (-1, 0, 102, 81)))
        assert check(content) == []

    def test_same_box_of_another_class_or_image(self, content):
        content["annotations"] += [annotation(6, category_id=9), annotation(8, image_id=20)]
        assert check(content) == []

    def test_image_without_boxes(self, content):
        content["annotations"].pop()
        assert check(content) == []

    def test_crowd(self, content):
        content["annotations"].append(annotation(6, (1, 2, 3, 4), iscrowd=1))
        assert check(content) == []


# Annotations in addition to the two good ones: kind, words of the message, fatal.
ANNOTATIONS = {
    "nan": (annotation(6, (1, 2, math.nan, 4)), "bad-box", "finite", True),
    "infinite": (annotation(6, (1, -math.inf, 3, 4)), "bad-box", "finite", True),
    "both infinite": (annotation(6, (math.inf, -math.inf, 3, 4)), "bad-box", "finite", True),
    "huge": (annotation(6, (1, 2, 10**400, 4)), "bad-box", "finite", True),
    "three numbers": (annotation(6, (1, 2, 3)), "bad-box", "four", True),
    "no numbers": (annotation(6, ()), "bad-box", "four", True),
    "text": (annotation(6, (1, 2, "3 px", 4)), "bad-box", "'3 px'", True),
    "true": (annotation(6, (1, 2, True, 4)), "bad-box", "True", True),
    "nested": (annotation(6, ([1, 2], [3, 4], 5, 6)), "bad-box", "four", True),
    "no width": (annotation(6, (1, 2, 0, 4)), "empty-box", "[1, 2, 0, 4]", False),
    "negative height": (annotation(6, (1, 2, 3, -4)), "empty-box", "[1, 2, 3, -4]", False),
    "under a pixel": (annotation(6, (0.25, 0.5, 0.5, 0.1)), "tiny-box", "1 pixel", False),
    "right of it": (annotation(6, (100, 2, 3, 4)), "outside-box", "outside", False),
    "above it": (annotation(6, (1, -9, 3, 9)), "outside-box", "outside", False),
    # 95 + 9 - 100 = 4 pixels, -3 and 78.5 + 5 - 80 = 3.5 pixels.
    "partly right": (annotation(6, (95, 2, 9, 4)), "partly-outside-box", "4 pixels", False),
    "partly above": (annotation(6, (1, -3, 9, 9)), "partly-outside-box", "3 pixels", False),
    "partly below": (annotation(6, (1, 78.5, 9, 5)), "partly-outside-box", "3.5 pix", False),
    "duplicate": (annotation(6), "duplicate-box", "annotation 1", False),
    "id again": (annotation(1, (1, 2, 3, 4)), "duplicate-annotation-id", "id", False),
    "id 0": (annotation(0, (1, 2, 3, 4)), "evaluation-id", "above 0", False),
    "no id": (annotation(None, (1, 2, 3, 4)), "evaluation-id", "id None", False),
    "huge id": (annotation(2**63, (1, 2, 3, 4)), "evaluation-id", "id 92233", False),
    "area of text": (annotation(6, (1, 2, 3, 4), area="x"), "bad-area", "area 'x'", False),
    "area below 0": (annotation(6, (1, 2, 3, 4), area=-1), "bad-area", "area -1", False),
    # At most 4 x 5 square pixels, with rounding, and a hundredth.
    "area above its box": (annotation(6, (1, 2, 3, 4), area=21), "bad-area", "area 21", False),
    "crowd 2": (annotation(6, (1, 2, 3, 4), iscrowd=2), "bad-iscrowd", "not 2", True),
    "crowd of text": (annotation(6, (1, 2, 3, 4), iscrowd="x"), "bad-iscrowd", "not 'x'", True),
    "crowd list": (annotation(6, (1, 2, 3, 4), iscrowd=[1]), "bad-iscrowd", "not [1]", True),
    "text id": (annotation("a", (1, 2, 3, 4)), "evaluation-id", "whole numbers", False),
    "unknown image": (annotation(6, image_id=8), "unknown-image", "image_id 8", True),
    "image by other text": (annotation(6, image_id="07"), "unknown-image", "'07'", True),
    "unknown category": (annotation(6, category_id=4), "unknown-category", "id 4", True),
    "box is text": (annotation(6, bbox=[]) | {"bbox": "1 2 3 4"}, "bad-annotation", "bbox", True),
    "image is null": (annotation(6, image_id=None), "bad-annotation", "image_id None", True),
    "image is a list": (annotation(6, image_id=[7]), "bad-annotation", "image_id", True),
}


@pytest.fixture(params=ANNOTATIONS)
def bad_annotation(request, content):
    item, *expected = ANNOTATIONS[request.param]
    content["annotations"].append(item)
    return content, item, expected


def test_each_bad_annotation_is_found(bad_annotation):
    content, item, (kind, words, fatal) = bad_annotation
    problem = only(check(content))
    assert (problem.kind, problem.fatal) == (kind, fatal)
    assert problem.where == f"x.json: annotation {item['id']!r}"
    assert problem.item == ("annotations", 2)
    assert words in problem.message


def test_each_bad_annotation_is_fixed(bad_annotation):
    content, item, (kind, *_) = bad_annotation
    before = copy.deepcopy(content)
    fixed, changes = fix(content, [], "x.json")
    if kind == "tiny-box":  # training leaves it out, evaluation counts it
        assert (fixed, changes) == (before, [])
        return
    assert check(fixed) == []
    assert changes and all(x.startswith(f"x.json: annotation {item['id']!r}: ") for x in changes)
    assert repr(content) == repr(before)
    assert fixed["annotations"][:2] == before["annotations"][:2]


@pytest.mark.parametrize("key", ["image_id", "category_id"])
def test_same_box_of_unknown_images_or_categories_is_no_duplicate(content, key):
    content["annotations"] += [annotation(6, **{key: 10}), annotation(8, **{key: 11})]
    kind = "unknown-" + key.removesuffix("_id")
    assert [x.kind for x in check(content)] == [kind, kind]


@pytest.mark.parametrize("field", ["image_id", "category_id", "bbox"])
def test_annotations_without_a_field_are_named_and_dropped(content, field):
    del content["annotations"][1][field]
    problem = only(check(content))
    assert (problem.kind, problem.fatal) == ("bad-annotation", True)
    assert problem.where == "x.json: annotation 5"
    assert f"has no {field}" in problem.message
    fixed, changes = fix(content, [], "x.json")
    assert check(fixed) == [] and len(fixed["annotations"]) == len(changes) == 1


def test_items_that_are_no_objects_are_named(content):
    content["annotations"][1] = 3
    content["images"].append(None)
    problems = check(content)
    assert [x.where for x in problems] == ["x.json: images[2]", "x.json: annotations[1]"]


class TestImages:
    @pytest.mark.parametrize("size", [{"width": 0}, {"height": -4}, {"width": None}])
    def test_size(self, content, size):
        content["images"][1] |= size
        problem = only(check(content))
        assert (problem.kind, problem.fatal) == ("no-size", True)
        assert problem.where == "x.json: image 20 (b.png)"
        assert f"has no {only(size)} above 0" in problem.message

    def test_size_is_absent(self, content):
        del content["images"][1]["width"], content["images"][1]["height"]
        assert "has no width and height above 0" in only(check(content)).message

    def test_small(self, content):
        content["images"].append({"id": 8, "file_name": "c", "width": 31, "height": 32})
        problem = only(check(content))
        assert (problem.kind, problem.fatal) == ("small-image", False)
        assert problem.where == "x.json: image 8 (c)" and "31 x 32" in problem.message

    def test_id_again(self, content):
        content["images"].append(content["images"][0] | {"file_name": "c"})
        problem = only(check(content))
        assert (problem.kind, problem.fatal) == ("duplicate-image-id", True)
        assert problem.where == "x.json: image 7 (c)"

    def test_file_again(self, content):
        content["images"].append(content["images"][0] | {"id": 8})
        problem = only(check(content))
        assert (problem.kind, problem.fatal) == ("duplicate-file", False)
        assert problem.where == "x.json: image 8 (sub/a.png)"

    def test_mixed_ids(self, content):
        content["images"].append({"id": "8", "file_name": "c", "width": 40, "height": 40})
        problem = only(check(content))
        assert (problem.kind, problem.fatal) == ("mixed-ids", True)


class TestCategories:
    def test_id_again(self, content):
        content["categories"].append({"id": 9, "name": "cow"})
        problem = only(check(content))
        assert (problem.kind, problem.fatal) == ("duplicate-category-id", True)
        assert problem.where == "x.json: category 9 (cow)"

    def test_name_again(self, content):
        content["categories"].append({"id": 4, "name": "dog"})
        problem = only(check(content))
        assert (problem.kind, problem.fatal) == ("duplicate-name", False)
        assert problem.where == "x.json: category 4 (dog)" and "'dog'" in problem.message


class TestFile:
    @pytest.mark.parametrize("key", ["images", "annotations", "categories"])
    @pytest.mark.parametrize("value", [None, {}])
    def test_missing_list(self, content, key, value):
        problem = only(check(content | {key: value}))
        assert (problem.kind, problem.where, problem.fatal) == ("missing-list", "x.json", True)
        assert repr(key) in problem.message

    def test_list_of_results(self):
        assert only(check([{"image_id": 1}])).kind == "missing-list"

    @pytest.mark.parametrize("key", ["images", "categories"])
    def test_empty_list(self, content, key):
        problem = check(content | {key: [], "annotations": []}, training=False)[0]
        assert (problem.kind, problem.fatal) == ("empty-list", True)
        assert repr(key) in problem.message

    def test_no_boxes(self, content):
        content["annotations"] = []
        problem = only(check(content))
        assert (problem.kind, problem.fatal) == ("no-boxes", True)
        assert check(content, training=False) == []

    def test_no_boxes_but_crowds(self, content):
        content["annotations"] = [annotation(1, iscrowd=1)]
        problem = only(check(content))
        assert problem.kind == "no-boxes" and "1 annotations are crowds (iscrowd" in problem.message

    def test_ignore(self, content):
        content["annotations"].append(annotation(6, (1, 2, 3, 4), ignore=1))
        problem = only(check(content))
        assert (problem.kind, problem.fatal) == ("ignore", False) and "iscrowd" in problem.message

    def test_normalised_boxes(self, content):
        content["annotations"] = [annotation(1, (0.5, 0.25, 0.5, 0.5))]
        assert [x.kind for x in check(content)] == ["tiny-box", "no-boxes"]

    def test_fields_that_evaluation_needs(self, content):
        for x in content["annotations"]:
            del x["iscrowd"]
        del content["annotations"][1]["area"]
        problems = check(content)
        assert [(x.kind, x.fatal) for x in problems] == [("no-area", False), ("no-iscrowd", False)]
        fixed, changes = fix(content, [], "x.json")
        assert check(fixed) == [] and len(changes) == 2
        assert [x["area"] for x in fixed["annotations"]] == [600, 64 * 48]


def test_large_data_take_seconds():
    rng = np.random.default_rng(0)
    num_images, num_annotations = 10_000, 86_000  # a tenth of COCO
    rows = rng.integers(0, num_images, num_annotations).tolist()
    boxes = np.round(rng.uniform(5, 200, (num_annotations, 4)), 2).tolist()
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480}
            for i in range(num_images)
        ],
        "annotations": [
            annotation(i, box, image_id=row)
            for i, (row, box) in enumerate(zip(rows, boxes, strict=True), start=1)
        ],
        "categories": [{"id": 3, "name": "cat"}],
    }
    start = time.process_time()
    assert check(content) == []
    assert time.process_time() - start < 1  # measured: 0.2
