"""Images of any depth and shape become the model's input, with their boxes."""

import numpy as np
import pytest
from PIL import Image

import detectron2.data.transforms as T
from detectron2.data.detection_utils import SizeMismatchError
from detectron2.structures import BoxMode
from tood_d2.data import DatasetMapper
from tood_d2.data.loading.augmentations import LimitAspectRatio
from tood_d2.inference.predictor import ImagePredictor

RESIZE = T.ResizeShortestEdge(96, 160)


@pytest.fixture
def record(tmp_path):
    def make(size, box=None, mode="RGB"):
        path = tmp_path / "image.png"
        Image.new(mode, size).save(path)
        width, height = size
        annotation = {"bbox": box, "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1}
        annotations = [annotation] if box else []
        sizes = {"width": width, "height": height}
        return {"file_name": str(path), "image_id": 1, "annotations": annotations, **sizes}

    return make


def test_an_image_and_its_boxes_are_resized_alike(record):
    mapper = DatasetMapper(True, augmentations=[RESIZE], image_format="BGR")
    sample = mapper(record((64, 48), [10, 5, 20, 10]))  # twice as large
    assert sample["image"].shape == (3, 96, 128)
    assert sample["instances"].gt_boxes.tensor.tolist() == [[20, 10, 60, 30]]
    assert sample["instances"].gt_classes.tolist() == [1]
    assert "annotations" not in sample


@pytest.mark.parametrize("box", [[10, 5, 21, 10], [10.0, 5.0, 21.0, 10.0]])
def test_boxes_of_whole_numbers_are_not_cut(record, box):
    mapper = DatasetMapper(True, augmentations=[T.Resize((72, 96))], image_format="BGR")
    boxes = mapper(record((64, 48), box))["instances"].gt_boxes.tensor  # 1.5 times as large
    assert boxes.tolist() == [[15, 7.5, 46.5, 22.5]]


def test_without_annotations_in_testing(record):
    mapper = DatasetMapper(False, augmentations=[RESIZE], image_format="L")
    sample = mapper(record((64, 48), [10, 5, 20, 10]))
    assert sample["image"].shape == (1, 96, 128)
    assert "annotations" not in sample and "instances" not in sample


@pytest.mark.parametrize("size", [(3000, 1), (1, 900), (100_000, 32)])
def test_a_thin_image_keeps_a_side(record, size):
    mapper = DatasetMapper(True, augmentations=[RESIZE], image_format="BGR")
    width, height = size
    sample = mapper(record(size, [0, 0, width, height]))
    height, width = sample["image"].shape[1:]
    assert (min(height, width), max(height, width)) == (2, 160)  # 160 / 100, rounded
    # The box is still all of the image.
    assert sample["instances"].gt_boxes.tensor.tolist() == [[0, 0, width, height]]


def test_prediction_sees_what_evaluation_sees(record):
    sample = DatasetMapper(False, augmentations=[RESIZE], image_format="BGR")(record((3000, 1)))
    predictor = ImagePredictor(None, [RESIZE], "BGR", [], [])
    batched_input = predictor.batched_input(np.zeros((1, 3000, 3), np.uint8))
    assert batched_input["image"].shape == sample["image"].shape
    assert (batched_input["height"], batched_input["width"]) == (1, 3000)


def test_only_thin_images_are_widened():
    def shape(height, width):
        image = np.zeros((height, width, 3), np.uint8)
        return LimitAspectRatio().get_transform(image).apply_image(image).shape[:2]

    assert shape(1, 100) == (1, 100) and shape(50, 40) == (50, 40)
    assert shape(1, 101) == (2, 101) and shape(999, 9) == (999, 10)


def test_another_size_than_the_record_says_is_refused(record):
    with pytest.raises(SizeMismatchError, match="image.png"):
        DatasetMapper(True, augmentations=[], image_format="BGR")(record((9, 7)) | {"width": 8})
