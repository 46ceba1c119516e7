"""CVAT loads the function, calls it and checks what it gives; only the server is fake."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from detectron2.structures import Boxes, Instances

cvataa = pytest.importorskip("cvat_sdk.auto_annotation")

from cvat_sdk import models  # noqa: E402
from cvat_sdk.auto_annotation import driver  # noqa: E402
from cvat_sdk.datasets.common import MediaElement, Sample  # noqa: E402

from tood_d2.config import load_run  # noqa: E402
from tood_d2.inference import Predictor  # noqa: E402
from tood_d2.integrations import cvat  # noqa: E402


class FakePredictor:
    """Finds two objects in an image of 40 x 20 pixels."""

    class_names = ("cat", "dog")

    def detect(self, images):
        (image,) = images
        assert image.shape == (20, 40, 3)
        boxes = Boxes(torch.tensor([[4.0, 5.0, 14.0, 20.0], [0.0, 0.5, 40.0, 10.0]]))
        classes, scores = torch.tensor([1, 0]), torch.tensor([0.75, 0.2])
        found = {"pred_boxes": boxes, "scores": scores, "pred_classes": classes}
        return [Instances((20, 40), **found)]


@pytest.fixture
def function():
    return cvat.DetectionFunction(FakePredictor(), score_thresh=0.3)


def frame(image):
    class Media(MediaElement):
        def load_image(self):
            return image

    return Media()


@pytest.fixture
def annotate(monkeypatch):
    """Lets CVAT's driver annotate a task of images: the shapes that it uploads."""

    def run(function, images, labels=("dog", "cat"), type="rectangle", **options):
        samples = [
            Sample(frame_index=i, frame_name=f"{i}.png", annotations=None, media=frame(image))
            for i, image in enumerate(images, start=10)
        ]
        labels = [
            models.Label(id=100 + i, name=name, type=type, sublabels=[], attributes=[])
            for i, name in enumerate(labels)
        ]
        dataset = SimpleNamespace(samples=samples, labels=labels)
        monkeypatch.setattr(driver, "TaskDataset", lambda *args, **kwargs: dataset)
        uploads = []
        api = SimpleNamespace(
            partial_update_annotations=lambda action, task, patched_labeled_data_request: (
                uploads.append(patched_labeled_data_request)
            )
        )
        client = SimpleNamespace(logger=logging.getLogger("cvat"), tasks=SimpleNamespace(api=api))
        cvataa.annotate_task(client, 7, function, **options)
        (upload,) = uploads
        return [(x.frame, x.label_id, x.type.value, x.points, x.source) for x in upload.shapes]

    return run


IMAGE = Image.new("RGB", (40, 20))
DOG = (100, "rectangle", [4.0, 5.0, 14.0, 20.0], "auto")
CAT = (101, "rectangle", [0.0, 0.5, 40.0, 10.0], "auto")


def test_rectangles_of_all_images(annotate, function):
    assert annotate(function, [IMAGE, IMAGE]) == [(10, *DOG), (11, *DOG)]


def test_cvat_may_ask_for_another_threshold(annotate, function):
    assert annotate(function, [IMAGE], conf_threshold=0.2) == [(10, *DOG), (10, *CAT)]
    assert annotate(function, [IMAGE], conf_threshold=0.0) == [(10, *DOG), (10, *CAT)]
    assert annotate(function, [IMAGE], conf_threshold=0.8) == []


def test_classes_without_a_label(annotate, function):
    with pytest.raises(cvataa.BadFunctionError, match="'cat' is not in dataset"):
        annotate(function, [IMAGE], labels=["dog"])
    options = {"allow_unmatched_labels": True, "conf_threshold": 0.0}
    assert annotate(function, [IMAGE], labels=["dog"], **options) == [(10, *DOG)]


def test_a_label_of_polygons_is_refused_before_any_detection(annotate, function):
    function.detect = None
    with pytest.raises(cvataa.BadFunctionError, match="'rectangle' in the function, but 'polygon'"):
        annotate(function, [IMAGE], type="polygon")


def test_images_of_other_kinds(annotate, function):
    turned = Image.new("RGB", (20, 40))
    turned.getexif()[0x0112] = 6  # to be turned by 90 degrees
    for image in (Image.new("L", (40, 20)), Image.new("RGBA", (40, 20)), turned):
        assert annotate(function, [image]) == [(10, *DOG)]


def test_cvat_cli_loads_the_function_of_a_trained_model(annotate, detecting_model, shapes):
    common = pytest.importorskip("cvat_cli._internal.common")
    files = [str(detecting_model / name) for name in ("config.yaml", "model_final.pth")]
    parameters = {"config_file": files[0], "weights": files[1], "score_thresh": 0.0}
    function = common.FunctionLoader("tood_d2.integrations.cvat", None, parameters).load()
    predictor = Predictor(load_run(files[0], weights=files[1]))
    assert [label.name for label in function.spec.labels] == predictor.class_names
    image = Image.open(next((shapes / "val").iterdir()))
    (expected,) = predictor.detect([np.array(image.convert("RGB"))])
    found = annotate(function, [image], labels=predictor.class_names)
    assert len(found) == len(expected) > 0
    assert [x[1] - 100 for x in found] == expected.pred_classes.tolist()
    assert [x[3] for x in found] == expected.pred_boxes.tensor.tolist()
