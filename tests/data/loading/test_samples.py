"""Samples that depend on the seed and their position alone, and unreadable images."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from tood_d2.data.loading.samples import SeededSamples, image_problem, seeded


def draw(_=None):
    """A number of each generator."""
    return random.random(), np.random.rand(), torch.rand(1).item()


def states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def test_seeded_numbers_depend_on_the_integers_alone():
    with seeded(1, 2):
        first = draw()
    draw()
    with seeded(1, 2):
        assert draw() == first
    for others in ((1, 3), (2, 1), (1,), (1, 2, 3)):
        with seeded(*others):
            assert not set(draw()) & set(first)


def test_seeded_leaves_the_generators_as_they_were():
    before = states()
    with pytest.raises(ZeroDivisionError), seeded(0):
        draw()
        raise ZeroDivisionError
    assert states() == before


@pytest.fixture
def records(tmp_path):
    """Four images of 4 x 3 pixels."""
    result = []
    for i in range(4):
        path = tmp_path / f"{i}.png"
        Image.new("RGB", (4, 3)).save(path)
        result.append({"file_name": str(path), "image_id": i, "width": 4, "height": 3})
    return result


def read(record):
    """A mapper that draws a random number."""
    problem = image_problem(record)
    if problem:
        raise OSError(problem)
    return record["image_id"], np.random.rand()


def test_a_sample_is_the_same_whatever_was_drawn_before(records):
    samples = SeededSamples(records, read, seed=5, max_unreadable=0)
    first = samples[7, 2]
    np.random.rand()
    assert samples[7, 2] == first and first.content[0] == 2 and first.unreadable == {}
    assert samples[8, 2].content[1] != first.content[1]  # another time, other augmentations
    other = SeededSamples(records, read, seed=6, max_unreadable=0)
    assert other[7, 2].content[1] != first.content[1]


def damage(path, how):
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:40])
    elif how == "text":
        path.write_text("no image")
    elif how == "other size":
        Image.new("RGB", (5, 3)).save(path)


@pytest.mark.parametrize("how", ["missing", "truncated", "text", "other size"])
def test_an_unreadable_image_is_replaced_by_another(records, tmp_path, how):
    damage(tmp_path / "1.png", how)
    samples = SeededSamples(records, read, seed=0, max_unreadable=4)
    sample = samples[0, 1]
    assert sample.content[0] != 1
    assert list(sample.unreadable) == [str(tmp_path / "1.png")]
    assert samples[0, 1] == sample


def test_without_readable_images_the_search_ends(records, tmp_path):
    for i in range(4):
        damage(tmp_path / f"{i}.png", "missing")
    sample = SeededSamples(records, read, seed=0, max_unreadable=2)[0, 1]
    assert sample.content is None and len(sample.unreadable) == 3


def test_a_mapper_that_fails_on_a_good_image_is_no_unreadable_image(records):
    def fail(record):
        raise KeyError("annotations")

    samples = SeededSamples(records, fail, seed=0, max_unreadable=4)
    with pytest.raises(ValueError, match=r"3\.png: the mapper fails on this image: 'annotations'"):
        samples[0, 3]


def test_refused_records_are_replaced(records):
    def refuse_some(record):
        return None if record["image_id"] < 3 else record["image_id"]

    sample = SeededSamples(records, refuse_some, seed=0, max_unreadable=0)[0, 0]
    assert sample == (3, {})
    with pytest.raises(ValueError, match="no sample of 100 images"):
        SeededSamples(records, lambda record: None, seed=0, max_unreadable=0)[0, 0]
