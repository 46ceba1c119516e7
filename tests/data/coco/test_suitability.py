"""Whether training data suit test data and the input size, with numbers worked out by hand."""

import copy

import pytest

from tood_d2.data.coco.suitability import check_against, check_matching


def only(problems):
    (problem,) = problems
    return problem


def another(content, id_, bbox, **changes):
    """Another box of the first image and class."""
    return content["annotations"][0] | {"id": id_, "bbox": bbox} | changes


class TestAgainst:
    def check(self, train, test):
        return check_against(train, test, "train.json", "val.json")

    @pytest.fixture
    def other(self, content):
        other = copy.deepcopy(content)
        other["images"] = [{"id": 1, "file_name": "c.png", "width": 50, "height": 50}]
        return other

    def test_same_categories_and_other_images_have_no_problem(self, content, other):
        other["categories"].reverse()
        assert self.check(content, other) == []

    def test_another_name_is_fatal(self, content, other):
        other["categories"][1]["name"] = "cow"
        problem = only(self.check(content, other))
        assert (problem.kind, problem.fatal) == ("other-categories", True)
        assert problem.where == "train.json, val.json"
        assert (
            problem.message == "category 9 is named 'dog' in train.json and named 'cow' in val.json"
        )

    def test_missing_ids_are_named(self, content, other):
        other["categories"][1]["id"] = 10
        messages = [x.message for x in self.check(content, other)]
        assert messages == [
            "category 9 is named 'dog' in train.json and not in val.json",
            "category 10 is not in train.json and named 'dog' in val.json",
        ]

    def test_a_shared_image_is_named(self, content, other):
        other["images"].append(content["images"][0] | {"id": 2, "file_name": "./sub/a.png"})
        problem = only(self.check(content, other))
        assert (problem.kind, problem.fatal) == ("shared-image", False)
        assert "sub/a.png is image 7 of the one and 2 of the other" in problem.message


class TestMatching:
    def check(self, content, **kwargs):
        return check_matching(content, "x.json", **kwargs)

    def test_objects_under_a_stride_at_the_input_are_counted(self, content):
        # 100 x 80 becomes 200 x 160: a side of 4 pixels becomes 8, one of 3.5 becomes 7.
        content["annotations"] += [
            another(content, 6, [0, 0, 4, 4]),
            another(content, 8, [0, 0, 9, 3.5]),
        ]
        problem = only(self.check(content, short_edge=160, max_size=1000))
        assert (problem.kind, problem.fatal) == ("small-objects", False)
        assert problem.where == "x.json: category 3 (cat)"
        assert problem.message.startswith("1 of 3 boxes have a side under the stride of 8 pixels")

    def test_the_longer_side_is_limited(self, content):
        # 100 x 80 becomes 150 x 120: 4 pixels become 6.
        content["annotations"] += [another(content, 6, [0, 0, 4, 4])]
        problem = only(self.check(content, short_edge=160, max_size=150))
        assert problem.message.startswith("1 of 2 boxes")
        assert self.check(content, short_edge=160, max_size=200) == []

    def test_boxes_that_are_not_trained_on_do_not_count(self, content):
        content["annotations"] += [
            another(content, 6, [0, 0, 2, 2], iscrowd=1),
            another(content, 8, [0, 0, 0, 2]),
            another(content, 9, [0, 0, 2, 2], image_id=8),
        ]
        assert self.check(content, short_edge=160, max_size=1000) == []

    def test_images_under_a_stride_at_the_input_are_named(self, content):
        # 1000 x 40 becomes 100 x 4.
        image = {"id": 8, "file_name": "wide.png", "width": 1000, "height": 40}
        content["images"].append(image)
        problem = only(self.check(content, short_edge=80, max_size=100))
        assert (problem.kind, problem.fatal) == ("small-input", False)
        assert problem.where == "x.json: image 8 (wide.png)" and "100 x 4" in problem.message
