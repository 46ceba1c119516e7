"""Images dealt out at random, each to one part with its boxes."""

import pytest

from tood_d2.data.coco.splitting import split_images


@pytest.fixture
def ten():
    """Ten images, the last without boxes, the others with two."""
    return {
        "info": {"version": 3},
        "images": [{"id": 7 * i, "file_name": f"{i}.png"} for i in range(10)],
        "annotations": [{"id": i, "image_id": 7 * (i % 9)} for i in range(18)],
        "categories": [{"id": 4, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


def ids(content):
    return [x["id"] for x in content["images"]]


# Of 10 images, fractions of 1/3 end at 3.3, 6.7 and 10, which are rounded.
@pytest.mark.parametrize(
    ("fractions", "sizes"),
    [([0.8, 0.2], [8, 2]), ([0.25, 0.75], [2, 8]), ([1 / 3] * 3, [3, 4, 3]), ([1], [10])],
)
def test_each_image_is_in_one_part_with_its_boxes(ten, fractions, sizes):
    parts = split_images(ten, fractions)
    assert [len(part["images"]) for part in parts] == sizes
    assert sorted(sum(map(ids, parts), [])) == ids(ten)
    for part in parts:
        assert ids(part) == sorted(ids(part))
        assert part["annotations"] == [x for x in ten["annotations"] if x["image_id"] in ids(part)]
        assert part["categories"] == ten["categories"] and part["info"] == {"version": 3}


def test_the_seed_chooses_the_images(ten):
    first, again, *others = (ids(split_images(ten, [0.5, 0.5], seed)[0]) for seed in (0, 0, 1, 2))
    assert first == again and first not in others and others[0] != others[1]


@pytest.mark.parametrize("fractions", [[0.5, 0.4], [1.5, -0.5], [1, 0], [float("nan"), 1]])
def test_fractions_that_are_no_whole_are_refused(ten, fractions):
    with pytest.raises(ValueError, match="fractions should be above 0 and 1 in total"):
        split_images(ten, fractions)


def test_a_part_without_images_is_refused(ten):
    with pytest.raises(ValueError, match="10 images are too few"):
        split_images(ten, [0.99, 0.01])
