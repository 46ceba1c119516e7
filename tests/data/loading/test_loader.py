import itertools
import os
import random
import signal
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from detectron2.data.detection_utils import read_image
from detectron2.data.samplers import (
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from detectron2.utils import comm
from tood_d2.data import build_test_loader, build_train_loader

# Every image has class 0, the last one also class 1, whose frequency is 1/4.
CLASSES = [[0], [0], [0, 0], [0, 1]]


def count_images(num_images, **kwargs):
    """How often each image comes among the first ones."""
    dataset = [
        {
            "image_id": i,
            "width": 2,
            "height": 1,
            "annotations": [{"category_id": x} for x in classes],
        }
        for i, classes in enumerate(CLASSES)
    ]
    loader = build_train_loader(
        dataset,
        mapper=lambda record: record["image_id"],
        total_batch_size=1,
        num_workers=0,
        aspect_ratio_grouping=False,
        **kwargs,
    )
    return Counter(image_id for (image_id,) in islice(loader, num_images))


@pytest.mark.parametrize("kwargs", [{}, {"repeat_threshold": 0.0}])
def test_each_image_comes_once_an_epoch(kwargs):
    assert count_images(8, **kwargs) == {0: 2, 1: 2, 2: 2, 3: 2}


def test_images_with_rare_classes_are_repeated():
    # Class 1 gives a factor of sqrt(1 / (1/4)) = 2, class 0 one of sqrt(1 / 1) = 1. An epoch has
    # 1 + 1 + 1 + 2 images.
    assert count_images(10, repeat_threshold=1.0) == {0: 2, 1: 2, 2: 2, 3: 4}


def test_no_class_is_rare():
    # sqrt(0.2 / (1/4)) is less than 1.
    assert count_images(8, repeat_threshold=0.2) == {0: 2, 1: 2, 2: 2, 3: 2}


def augment(record):
    """What depends on each of the generators that augmentations use."""
    return record["image_id"], random.random(), np.random.rand(), torch.rand(1).item()


def build(num_images=10, mapper=augment, batch_size=2, num_workers=0, **kwargs):
    """A loader of images that are wide, but for every third one."""
    dataset = [
        {"image_id": i, "file_name": f"{i}.jpg", "width": 1 if i % 3 == 0 else 3, "height": 2}
        for i in range(num_images)
    ]
    np.random.seed(0)
    settings = {"total_batch_size": batch_size, "num_workers": num_workers, **kwargs}
    return build_train_loader(dataset, mapper=mapper, **settings)


@pytest.mark.parametrize("num_workers", [0, 1, 2])
@pytest.mark.parametrize("taken", [0, 1, 7])
def test_a_loader_goes_on_where_another_was_left(taken, num_workers):
    expected = list(islice(build(), 12))
    loader = build(num_workers=num_workers)
    first = list(islice(loader, taken))
    assert loader.num_batches == taken
    np.random.rand()
    resumed = build(num_workers=num_workers)
    resumed.num_batches = taken
    assert first + list(islice(resumed, 12 - taken)) == expected
    assert resumed.num_batches == 12


def test_iterating_anew_goes_on():
    loader = build()
    batches = list(islice(loader, 3)) + list(islice(loader, 3))
    assert batches == list(islice(build(), 6))


def test_augmentations_differ_from_epoch_to_epoch():
    samples = [x for batch in islice(build(num_images=2, batch_size=1), 20) for x in batch]
    assert len(set(samples)) == 20


def test_loading_draws_no_random_numbers():
    loader = build(num_workers=1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    list(islice(loader, 3))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1] and random.getstate() == before[2]


def test_images_of_a_batch_are_all_wide_or_all_high():
    for batch in islice(build(batch_size=3), 30):
        assert len({image_id % 3 == 0 for image_id, *_ in batch}) == 1
    mixed = [
        {image_id % 3 == 0 for image_id, *_ in batch}
        for batch in islice(build(batch_size=3, aspect_ratio_grouping=False), 30)
    ]
    assert {True, False} in mixed


@pytest.fixture
def processes(monkeypatch):
    """Lets this process be one of two, whose number is called with."""

    def become(rank):
        monkeypatch.setattr(comm, "get_world_size", lambda: 2)
        monkeypatch.setattr("detectron2.utils.comm.all_gather", lambda x: [x, x])
        monkeypatch.setattr(comm, "get_rank", lambda: rank)

    return become


@pytest.mark.parametrize(
    "settings",
    [
        {"aspect_ratio_grouping": False},
        {"aspect_ratio_grouping": True},
        {"sampler": lambda: TrainingSampler(10, seed=3)},
        {"sampler": lambda: RandomSubsetTrainingSampler(10, 0.5, True, 3, 3)},
        {"sampler": lambda: RepeatFactorTrainingSampler(torch.linspace(1, 2, 10), seed=3)},
    ],
)
def test_processes_share_the_batches_of_one(processes, settings):
    def batches():
        made = {name: x() if callable(x) else x for name, x in settings.items()}
        return list(islice(build(batch_size=4, **made), 9))

    expected, shares = batches(), []
    for rank in range(2):
        processes(rank)
        shares.append(batches())
    assert [first + second for first, second in zip(*shares, strict=True)] == expected
    assert {len(x) for x in shares[0]} == {2}


def test_with_a_sampler_of_their_own_processes_have_augmentations_of_their_own(processes):
    read = []
    for rank in range(2):
        processes(rank)
        loader = build(batch_size=4, sampler=itertools.cycle(range(rank, 10, 2)))
        read.append([x for batch in islice(loader, 5) for x in batch])
    assert {x[0] for x in read[0]} == {0, 2, 4, 6, 8}
    assert not {x[1] for x in read[0]} & {x[1] for x in read[1]}


@pytest.mark.parametrize("batch_size", [0, -2, 3])
def test_batches_that_processes_cannot_share(monkeypatch, batch_size):
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    with pytest.raises(ValueError, match=f"2 processes cannot share {batch_size} images"):
        build(batch_size=batch_size)


def gone(record):
    """A mapper to which images with even numbers are not there."""
    if record["image_id"] % 2 == 0:
        raise FileNotFoundError(record["file_name"])
    return record["image_id"]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_unreadable_images_are_counted_and_replaced(log, num_workers):
    loader = build(mapper=gone, num_workers=num_workers, max_unreadable=5)
    images = [x for batch in islice(loader, 30) for x in batch]
    assert set(images) == {1, 3, 5, 7, 9}
    assert set(loader.unreadable) == {f"{i}.jpg" for i in (0, 2, 4, 6, 8)}
    assert log.text.count("cannot be read") == 5
    assert "4.jpg cannot be read (no such image file)" in log.text


def test_too_many_unreadable_images_end_training():
    loader = build(mapper=gone, max_unreadable=4)
    with pytest.raises(OSError, match=r"5 images cannot be read, with 4 allowed by .*\.jpg"):
        list(islice(loader, 30))


def test_workers_outlive_signals_to_all_processes():
    def interrupted(record):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        signal.alarm(0)
        return record["image_id"]

    loader = build(mapper=interrupted, num_workers=1)
    assert len(list(islice(loader, 4))) == 4


@pytest.mark.parametrize("num_workers", [0, 1])
def test_errors_of_test_data_name_the_image(tmp_path, num_workers):
    record = {"file_name": f"{tmp_path}/a.png", "width": 9, "height": 9}
    (tmp_path / "a.png").write_text("no image")
    loader = build_test_loader([record], mapper=read, num_workers=num_workers)
    with pytest.raises(ValueError, match="a.png: it is no image"):
        next(iter(loader))


def read(record):
    return read_image(record["file_name"])


def fail(record):
    raise KeyError("annotations")


def test_errors_of_the_mapper_name_the_image(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    record = {"file_name": f"{tmp_path}/a.png", "width": 9, "height": 9}
    with pytest.raises(ValueError, match="a.png: the mapper fails on this image: 'annotations'"):
        next(iter(build_test_loader([record], mapper=fail)))
