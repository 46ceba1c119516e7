"""Samples of several images: boxes worked out by hand, and their order."""

import math
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

import detectron2.data.transforms as T
from detectron2.config import get_cfg
from detectron2.structures import Boxes, BoxMode, Instances
from tood_d2 import add_tood_config
from tood_d2.data import DatasetMapper, build_train_loader
from tood_d2.data.loading.mixing import CopyPaste, Mosaic


def sample(value, size=(40, 80), boxes=((0, 0, 80, 40),), label=0):
    """An image (height, width) of one value, with boxes of one class."""
    height, width = size
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.gt_classes = torch.full((len(boxes),), label)
    image = torch.full((3, height, width), value, dtype=torch.uint8)
    return {"image": image, "instances": instances, "image_id": value}


@pytest.fixture
def centred(monkeypatch):
    """Random numbers in the middle of their range."""
    monkeypatch.setattr(np.random, "uniform", lambda low, high: (low + high) / 2)


def test_four_images_meet_in_a_point(centred):
    samples = [sample(value, label=value) for value in (1, 2, 3, 4)]
    result = Mosaic(scale=(0.5, 0.5), min_visible=0)(samples)
    image = result["image"]
    assert image.shape == (3, 40, 80) and result["image_id"] == 1
    # Images at half their size are the four quarters.
    assert image[:, :20, :40].eq(1).all() and image[:, :20, 40:].eq(2).all()
    assert image[:, 20:, :40].eq(3).all() and image[:, 20:, 40:].eq(4).all()
    assert result["instances"].gt_boxes.tensor.tolist() == [
        [0, 0, 40, 20],
        [40, 0, 80, 20],
        [0, 20, 40, 40],
        [40, 20, 80, 40],
    ]
    assert result["instances"].gt_classes.tolist() == [1, 2, 3, 4]
    assert result["instances"].image_size == (40, 80)


def test_images_are_cut_at_the_canvas(centred):
    # At full size, the first image has its lower right corner at (40, 20): what is seen of it is
    # its right half and lower half, x from 40 and y from 20.
    boxes = [
        [50, 30, 60.5, 39],  # all of it is seen, at 40 to the left and 20 further up
        [20, 30, 60, 40],  # half of it, x from 40
        [20, 20, 41, 40],  # 1 / 21
        [0, 0, 10, 10],  # nothing
    ]
    samples = [sample(1, boxes=boxes), *(sample(i, boxes=()) for i in (2, 3, 4))]
    result = Mosaic(scale=(1, 1), min_visible=0.5)(samples)
    assert result["instances"].gt_boxes.tensor.tolist() == [[10, 10, 20.5, 19], [0, 10, 20, 20]]


def test_small_images_leave_grey(centred):
    samples = [sample(i, size=(4, 8), boxes=()) for i in (2, 3, 4)]
    result = Mosaic(scale=(1, 1), pad_value=7)([sample(1, boxes=()), *samples])
    image = result["image"][0]
    assert image[:20, :40].eq(1).all()
    assert image[16:20, 40:48].eq(2).all() and image[20:24, 32:40].eq(3).all()
    assert image[20:24, 40:48].eq(4).all()
    assert image.eq(7).sum() == 40 * 80 - 20 * 40 - 3 * 4 * 8
    assert len(result["instances"]) == 0 and result["instances"].gt_boxes.tensor.shape == (0, 4)


def test_one_pixel():
    result = Mosaic()([sample(1, size=(1, 1), boxes=[[0, 0, 1, 1]])] * 4)
    assert result["image"].shape == (3, 1, 1)


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (Mosaic, "prob", 1.5),
        (Mosaic, "close", -0.1),
        (Mosaic, "min_visible", 2),
        (Mosaic, "scale", (0, 1)),
        (Mosaic, "scale", (1, 0.5)),
        (CopyPaste, "prob", -1),
        (CopyPaste, "max_objects", 0),
    ],
)
def test_wrong_values_are_named(kind, key, value):
    with pytest.raises(ValueError, match=f"{key} of {kind.__name__} should be .*, not"):
        kind(**{key: value})


def test_length_of_the_part_with_mixing():
    assert Mosaic(close=0.25, num_iters=100, batches_per_iter=2).num_batches == 150
    assert Mosaic(close=0.25).num_batches == math.inf


@pytest.fixture
def dataset(tmp_path):
    """Six images of 12 x 8 pixels whose values tell which they are, with a box each."""
    records = []
    for i in range(6):
        path = tmp_path / f"{i}.png"
        Image.new("RGB", (12, 8), (20 * i,) * 3).save(path)
        box = {"bbox": [0, 0, 12, 8], "bbox_mode": BoxMode.XYXY_ABS, "category_id": i}
        sizes = {"width": 12, "height": 8}
        records.append({"file_name": str(path), "image_id": i, "annotations": [box], **sizes})
    return records


def build(dataset, num_workers=0, **kwargs):
    np.random.seed(0)
    mapper = DatasetMapper(True, augmentations=[T.RandomFlip()], image_format="BGR")
    settings = {"mapper": mapper, "total_batch_size": 2, "num_workers": num_workers}
    return build_train_loader(dataset, **settings, **kwargs)


def pixels(batches):
    return [x["image"].tolist() for batch in batches for x in batch]


def is_mixed(sample):
    return sample["image"].unique().numel() > 1


@pytest.mark.parametrize("num_workers", [0, 2])
def test_mixed_samples_do_not_depend_on_workers_or_interruptions(dataset, num_workers):
    expected = pixels(islice(build(dataset, mosaic=Mosaic(0.5)), 8))
    loader = build(dataset, num_workers, mosaic=Mosaic(0.5))
    loader.num_batches = 3
    assert pixels(islice(loader, 5)) == expected[6:]


def test_a_share_of_the_samples_is_mixed(dataset):
    samples = [x for batch in islice(build(dataset, mosaic=Mosaic(0.5)), 100) for x in batch]
    # 200 samples: 3 standard deviations are 21.
    assert 79 <= sum(map(is_mixed, samples)) <= 121


def test_the_end_of_training_and_the_default_are_unmixed(dataset):
    plain = pixels(islice(build(dataset), 10))
    assert pixels(islice(build(dataset, mosaic=Mosaic(0.0)), 10)) == plain
    # 80% of 5 iterations of 2 batches each are 8 batches.
    mosaic = Mosaic(1.0, close=0.2, num_iters=5, batches_per_iter=2)
    batches = list(islice(build(dataset, mosaic=mosaic), 10))
    assert all(is_mixed(x) for batch in batches[:8] for x in batch)
    assert pixels(batches[8:]) == plain[16:]


def test_images_that_cannot_be_read_are_replaced(dataset, tmp_path):
    (tmp_path / "3.png").write_text("no image")
    loader = build(dataset, mosaic=Mosaic(1.0), max_unreadable=1)
    assert len(list(islice(loader, 10))) == 10
    assert list(loader.unreadable) == [str(tmp_path / "3.png")]


def test_objects_are_pasted_with_what_is_in_their_boxes(monkeypatch):
    # The other image's first object comes to the right lower corner of the own one.
    monkeypatch.setattr(np.random, "permutation", lambda n: np.arange(n))
    monkeypatch.setattr(np.random, "randint", lambda n: n - 1)
    own = sample(1, boxes=[[0, 0, 80, 20], [65, 31, 80, 40], [40, 30, 64, 40]])
    other = sample(9, boxes=[[10.5, 5, 30, 15], [20, 0, 40, 20], [15, 6, 17, 8]], label=2)
    result = CopyPaste(max_objects=1, min_visible=0.5)([own, other])
    # The pixels x 10 to 30 and y 5 to 15, moved by (50, 25), cover x 60 to 80 and y 30 to 40.
    assert result["image"][:, 30:, 60:].eq(9).all() and result["image"].eq(9).sum() == 3 * 200
    # Of the own objects the second one is covered; of the others' the second one is a quarter.
    assert result["instances"].gt_boxes.tensor.tolist() == [
        [0, 0, 80, 20],
        [40, 30, 64, 40],  # 4/24 are covered
        [60.5, 30, 80, 40],
        [65, 31, 67, 33],
    ]
    assert result["instances"].gt_classes.tolist() == [0, 0, 2, 2]
    assert own["image"].eq(1).all() and len(own["instances"]) == 3


@pytest.mark.parametrize("boxes", [[], [[0, 0, 80, 40]]])
def test_nothing_to_paste(boxes):
    own = sample(1, size=(39, 80), boxes=[[1, 2, 3, 4]])
    result = CopyPaste()([own, sample(2, boxes=boxes)])  # the object is higher than the image
    assert result["image"].eq(1).all()
    assert result["instances"].gt_boxes.tensor.tolist() == [[1, 2, 3, 4]]


def test_one_pixel_is_pasted():
    one = sample(1, size=(1, 1), boxes=[[0, 0, 1, 1]])
    result = CopyPaste()([one, sample(2, size=(1, 1), boxes=[[0, 0, 1, 1]], label=5)])
    assert result["image"].eq(2).all() and result["instances"].gt_classes.tolist() == [5]


def test_keys_of_yaml(dataset):
    cfg = get_cfg()
    add_tood_config(cfg)
    cfg.merge_from_list(["DATALOADER.MOSAIC.PROB", 0.5, "DATALOADER.COPY_PASTE.PROB", 0.25])
    cfg.merge_from_list(["DATALOADER.MOSAIC.CLOSE", 0.2, "SOLVER.GRADIENT_ACCUMULATION", 2])
    cfg.merge_from_list(["SOLVER.MAX_ITER", 100, "SOLVER.IMS_PER_BATCH", 4])
    # 80 of 100 iterations, of 2 batches of 4 images each.
    (copy_paste, end), (mosaic, other_end) = build_train_loader(
        cfg, dataset=dataset
    ).dataset.mixings
    assert (copy_paste.prob, mosaic.prob) == (0.25, 0.5)
    assert end == other_end == 640
    cfg.merge_from_list(["DATALOADER.MOSAIC.PROB", 0.0, "DATALOADER.COPY_PASTE.PROB", 0.0])
    assert build_train_loader(cfg, dataset=dataset).dataset.mixings == []
