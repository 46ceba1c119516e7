from collections import Counter
from itertools import islice

import pytest
from PIL import Image

from detectron2.data.detection_utils import read_image
from tood_d2.data import build_test_loader, build_train_loader

# Every image has class 0, the last one also class 1, whose frequency is 1/4.
CLASSES = [[0], [0], [0, 0], [0, 1]]


def count_images(num_images, **kwargs):
    """How often each image comes among the first ones."""
    dataset = [
        {"image_id": i, "annotations": [{"category_id": x} for x in classes]}
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


@pytest.mark.parametrize("num_workers", [0, 1])
def test_errors_of_test_data_name_the_image(tmp_path, num_workers):
    record = {"file_name": f"{tmp_path}/a.png", "width": 9, "height": 9}
    (tmp_path / "a.png").write_text("no image")
    loader = build_test_loader([record], mapper=read, num_workers=num_workers)
    with pytest.raises(ValueError, match="a.png: UnidentifiedImageError: cannot identify"):
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
