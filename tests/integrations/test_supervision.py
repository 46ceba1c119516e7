"""The package supervision on the project's detections and data."""

import json

import cv2
import numpy as np
import pytest
import torch
from evaluated_data import AP, CAT, DOG, make_evaluated_data

from detectron2.structures import Boxes, Instances
from tood_d2.inference import Predictor
from tood_d2.inference.predictor import ImagePredictor
from tood_d2.inference.trained_models import find_trained_model

sv = pytest.importorskip("supervision")


@pytest.fixture(params=[int, "x{}".format], ids=["numbers", "text"])
def data(request, content, tmp_path):
    return make_evaluated_data(tmp_path, content, request.param)


@pytest.fixture(scope="module")
def predictor(detecting_model):
    return Predictor(find_trained_model(detecting_model).load_run())


def test_detections_of_the_predictor(predictor, shapes):
    image = cv2.imread(str(sorted((shapes / "val").iterdir())[0]))
    outputs = predictor(image)
    detections = sv.Detections.from_detectron2(outputs)
    instances = outputs["instances"]
    assert len(detections) == len(instances) > 0 and detections.mask is None
    assert np.array_equal(detections.xyxy, instances.pred_boxes.tensor.numpy())
    assert np.array_equal(detections.confidence, instances.scores.numpy())
    assert np.array_equal(detections.class_id, instances.pred_classes.numpy())
    names = [predictor.class_names[x] for x in detections.class_id]
    drawn = sv.BoxAnnotator().annotate(image.copy(), detections)
    labelled = sv.LabelAnnotator().annotate(drawn.copy(), detections, labels=names)
    assert (drawn != image).any() and (labelled != drawn).any()


def test_an_image_without_detections():
    nothing = Instances(
        (40, 50),
        pred_boxes=Boxes(torch.zeros(0, 4)),
        scores=torch.zeros(0),
        pred_classes=torch.zeros(0, dtype=torch.int64),
    )
    classes = ["cat", "dog"], [3, 9]
    predictor = ImagePredictor(lambda inputs: [{"instances": nothing}], [], "RGB", *classes)
    image = np.zeros((40, 50, 3), np.uint8)
    detections = sv.Detections.from_detectron2(predictor(image))
    assert detections.is_empty() and detections.xyxy.shape == (0, 4)
    assert (sv.BoxAnnotator().annotate(image.copy(), detections) == image).all()


def test_the_data_and_their_evaluation(data):
    dataset = sv.DetectionDataset.from_coco(str(data.images), str(data.json_file))
    assert dataset.classes == ["cat", "dog"]
    truth = {path.removeprefix(f"{data.images}/"): found for path, _, found in dataset}
    assert {name: found.class_id.tolist() for name, found in truth.items()} == {
        "sub/a.png": [CAT],
        "b.png": [DOG],
        "empty.png": [],
    }
    assert truth["sub/a.png"].xyxy.tolist() == [[10, 10, 40, 30]]

    content = json.loads(data.json_file.read_text())
    categories = [x["id"] for x in content["categories"]]
    results, metric = json.loads(data.results.read_text()), sv.metrics.MeanAveragePrecision()
    for image in content["images"]:
        found = [x for x in results if x["image_id"] == image["id"]]
        boxes = np.array([x["bbox"] for x in found])
        boxes[:, 2:] += boxes[:, :2]
        detections = sv.Detections(
            boxes,
            confidence=np.array([x["score"] for x in found]),
            class_id=np.array([categories.index(x["category_id"]) for x in found]),
        )
        metric.update(detections, truth[image["file_name"]])
    assert data.ap == pytest.approx(AP)
    assert 100 * metric.compute().map50_95 == pytest.approx(AP)
