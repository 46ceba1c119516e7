"""One run of the network, detections for any thresholds; and the analysis that a page shows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from detectron2.data.detection_utils import read_image
from tood_d2.config import load_run, register_datasets
from tood_d2.inference import DensePredictor, Predictor
from tood_d2.inspection import ImageAnalysis

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "tood_R_18_FPN_small.py")


def build_run(tiny_overrides, folder, *overrides):
    """A small model of four classes that detects twenty objects in any image."""
    path = folder / "model.pth"
    overrides = [f"train.init_checkpoint={path}", "model.max_detections_per_image=20", *overrides]
    overrides = [*tiny_overrides, *overrides]
    run = register_datasets(load_run(CONFIG, overrides))
    torch.manual_seed(0)
    model = run.build_model()
    for layers in (model.head.cls_logits, model.head.cls_alignment, model.head.box_alignment):
        for layer in layers.modules() if layers is not None else ():
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.normal_(layer.weight, std=0.1)
                torch.nn.init.zeros_(layer.bias)
    torch.save({"model": model.state_dict()}, path)
    return run


@pytest.fixture(scope="module")
def run(tiny_overrides, tmp_path_factory):
    return build_run(tiny_overrides, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def predictor(run):
    return DensePredictor(run)


@pytest.fixture(scope="module")
def image(shapes):
    return read_image(str(shapes / "val" / "000001.png"), format="RGB")


def assert_equal(actual, expected):
    assert actual.image_size == expected.image_size
    assert torch.equal(actual.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert torch.equal(actual.scores, expected.scores)
    assert torch.equal(actual.pred_classes, expected.pred_classes)


class TestDensePredictor:
    def test_the_thresholds_of_the_config_give_what_the_predictor_detects(
        self, run, predictor, image
    ):
        (expected,) = Predictor(run).detect([image])
        actual = predictor.select(predictor.predict(image))
        assert len(actual) > 10
        assert_equal(actual, expected)

    @pytest.mark.parametrize(("score", "nms"), [(0.2, 0.6), (0.5, 0.3), (0.05, 1.0), (0.999, 0.6)])
    def test_other_thresholds(self, run, predictor, image, score, nms):
        other = Predictor(run)
        other.model.test_score_thresh, other.model.test_nms_thresh = score, nms
        (expected,) = other.detect([image])
        assert_equal(predictor.select(predictor.predict(image), score, nms), expected)

    def test_classes(self, predictor, image):
        predictions = predictor.predict(image)
        everything = predictor.select(predictions, 0.3, 0.6)
        some = predictor.select(predictions, 0.3, 0.6, [1, 3])
        assert len(everything) > 0
        assert set(some.pred_classes.tolist()) <= {1, 3}
        assert_equal(predictor.select(predictions, 0.3, 0.6, []), everything)

    def test_the_network_runs_once(self, predictor, image, log):
        before = predictor.num_passes
        predictions = predictor.predict(image)
        for score in (0.1, 0.5, 0.9):
            predictor.select(predictions, score)
        assert predictor.num_passes == before + 1
        assert f"Network run {before + 1}: 320 x 240 pixels" in log.text
        assert log.text.count("Network run") == 1

    def test_predictions_are_not_changed(self, predictor, image):
        """Selection clips boxes."""
        predictions = predictor.predict(image)
        boxes, scores = predictions.dense.boxes.clone(), predictions.dense.scores.clone()
        predictor.select(predictions, 0.0, 0.9, [2])
        assert torch.equal(predictions.dense.boxes, boxes)
        assert torch.equal(predictions.dense.scores, scores)

    @pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (3, 500)])
    def test_odd_sizes(self, predictor, size):
        predictions = predictor.predict(np.zeros((*size, 3), np.uint8))
        assert predictor.select(predictions, 0.0).image_size == size

    def test_network_image_is_rgb(self, predictor):
        blue = np.zeros((96, 96, 3), np.uint8)
        blue[..., 2] = 255
        image = predictor.network_image(predictor.predict(blue))
        assert image[5, 5].tolist() == [0, 0, 255]

    def test_ids_of_the_data_set(self, predictor):
        assert predictor.category_ids == [1, 2, 4, 5]
        assert predictor.class_names == ["circle", "rectangle", "triangle", "star"]


class TestImageAnalysis:
    @pytest.fixture
    def analysis(self, predictor, image):
        return ImageAnalysis(predictor, image)

    def test_detections(self, analysis, predictor, image):
        assert_equal(analysis.detections(), *predictor.detect([image]))
        results = analysis.results(analysis.detections(0.3), "000001.png")
        assert len(results) == len(analysis.detections(0.3)) > 0
        assert {x["image_id"] for x in results} == {1}
        assert {x["category_id"] for x in results} <= {1, 2, 4, 5}

    @pytest.mark.parametrize(
        ("size", "drawn"),
        [
            ((1, 1), (640, 640)),
            ((240, 320), (480, 640)),
            ((700, 900), (700, 900)),
            ((1000, 3200), (500, 1600)),
            ((1, 200), (3, 640)),
        ],
    )
    def test_drawing_is_of_a_good_size(self, predictor, size, drawn):
        analysis = ImageAnalysis(predictor, np.zeros((*size, 3), np.uint8))
        detections = analysis.detections(0.05)
        assert analysis.draw(detections).get_image().shape == (*drawn, 3)
        assert_equal(detections, analysis.detections(0.05))

    def test_head(self, analysis, predictor):
        head = analysis.head
        assert head.levels == ["p3", "p4", "p5", "p6", "p7"]
        maps = head.maps(head.best_level)
        assert maps.scores.max() == head.predictions.dense.scores.max()
        before = predictor.num_passes
        for _ in range(2):
            head.look_inside()
        pictures = head.pictures(0)
        assert head.describe(0) is None
        for picture in pictures:
            assert picture.shape == (480, 640, 3) and picture.dtype == np.uint8
        # The network input is 128 x 96, the pictures five times that: location (1, 2) of stride 8
        # is at (16, 8) there and at (40, 20) in the image.
        head.mark(5 * 16 + 3, 5 * 8 - 3)
        text = head.describe(0)
        assert text.startswith("p3, row 1, column 2 at (40, 20): score ")
        assert "alignment" in text and "left (deepskyblue)" in text
        for picture, marked in zip(pictures, head.pictures(0), strict=True):
            assert (picture != marked).any()
        assert predictor.num_passes == before + 1

    def test_head_without_alignment(self, tiny_overrides, tmp_path, image):
        overrides = "model.head.align_cls=False", "model.head.align_boxes=False"
        predictor = DensePredictor(build_run(tiny_overrides, tmp_path, *overrides))
        head = ImageAnalysis(predictor, image).head
        head.look_inside()
        head.mark(100, 100)
        assert head.pictures(1)[2] is None
        assert "alignment" not in head.describe(1) and "left" not in head.describe(1)
