"""Several models that detect together."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from detectron2.structures import Boxes, Instances
from tood_d2.config import load_run
from tood_d2.data.images import read_image
from tood_d2.inference import EnsemblePredictor, Merging, Predictor, load_ensemble
from tood_d2.inference.ensemble import as_model, match_classes
from tood_d2.inference.predictor import ImagePredictor

BOX, FAR = [0, 0, 20, 10], [30, 30, 40, 40]


class Finds(ImagePredictor):
    """Finds the same rows of a box, a score and a class in each image."""

    def __init__(self, class_names, *rows):
        super().__init__(None, [], "RGB", class_names, list(range(len(class_names))))
        self.rows = rows

    def detect(self, images):
        boxes, scores, classes = zip(*self.rows, strict=True) if self.rows else ([],) * 3
        return [
            Instances(
                image.shape[:2],
                pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
                scores=torch.tensor(scores, dtype=torch.float32),
                pred_classes=torch.tensor(classes, dtype=torch.int64),
            )
            for image in images
        ]


IMAGE = np.zeros((60, 80, 3), np.uint8)
CAT_FIRST = Finds(["cat", "dog"], (BOX, 0.8, 0), (FAR, 0.3, 1))
DOG_FIRST = Finds(["dog", "cat"], (BOX, 0.6, 1), (FAR, 0.5, 1))


def test_classes_are_matched_by_name_and_detections_merged():
    ensemble = EnsemblePredictor([CAT_FIRST, DOG_FIRST], Merging("wbf"))
    found, again = ensemble.detect([IMAGE, IMAGE[:, :70]])
    # Both found the cat: (0.8 + 0.6) / 2. Each found another class in the other box.
    assert found.pred_classes.tolist() == [0, 0, 1]
    assert found.scores.tolist() == pytest.approx([0.7, 0.25, 0.15])
    assert found.pred_boxes.tensor.tolist() == [BOX, FAR, FAR]
    assert (found.image_size, again.image_size) == ((60, 80), (60, 70))
    assert ensemble.class_names == ["cat", "dog"] and ensemble.category_ids == [0, 1]
    assert len(ensemble(IMAGE)["instances"]) == 3  # like DefaultPredictor


def test_weights_are_those_of_the_models():
    ensemble = EnsemblePredictor([CAT_FIRST, DOG_FIRST], Merging("wbf"), [3, 1])
    (found,) = ensemble.detect([IMAGE])
    # (3 * 0.8 + 0.6) / 4, 3 * 0.3 / 4, 0.5 / 4
    assert found.scores.tolist() == pytest.approx([0.75, 0.225, 0.125])
    assert found.pred_classes.tolist() == [0, 1, 0]


def test_models_that_find_nothing():
    nothing = Finds(["cat", "dog"])
    for method in ("hard", "soft_gaussian", "wbf"):
        assert len(EnsemblePredictor([nothing] * 2, Merging(method)).detect([IMAGE])[0]) == 0
        (found,) = EnsemblePredictor([nothing, CAT_FIRST], Merging(method)).detect([IMAGE])
        assert found.pred_boxes.tensor.tolist() == [BOX, FAR]


def test_other_classes_are_refused_by_name():
    assert match_classes(["b", "a"], ["a", "b"]) == [1, 0]
    with pytest.raises(ValueError, match="missing here: cat, only here: cow, owl"):
        match_classes(["cow", "dog", "owl"], ["cat", "dog"])
    with pytest.raises(ValueError, match="missing here: dog, only here: none"):
        EnsemblePredictor([CAT_FIRST, Finds(["cat"])], Merging())


@pytest.mark.parametrize("weights", [[1], [1, 2, 3], [1, 0], [1, -1]])
def test_weights_have_to_fit_the_models(weights):
    with pytest.raises(ValueError, match="should be 2 numbers above 0, not"):
        EnsemblePredictor([CAT_FIRST, DOG_FIRST], Merging(), weights)


def test_as_a_model_it_reads_the_images_and_scales_boxes(tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    sample = {"file_name": str(tmp_path / "a.png"), "height": 120, "width": 240}
    (output,) = as_model(EnsemblePredictor([CAT_FIRST], Merging()))([sample])
    found = output["instances"]
    assert found.image_size == (120, 240)
    assert found.pred_boxes.tensor[0].tolist() == [0, 0, 60, 20]


class TestLoading:
    @pytest.fixture
    def run(self, detecting_model):
        weights = str(detecting_model / "model_final.pth")
        overrides = ["model.max_detections_per_image=10"]
        return load_run(str(detecting_model / "config.yaml"), overrides, weights=weights)

    @pytest.fixture
    def other(self, detecting_model, tmp_path):
        """A function that copies the model, with a text of its config replaced."""

        def copy(old, new):
            folder = tmp_path / "other"
            shutil.copytree(detecting_model, folder)
            text = (folder / "config.yaml").read_text()
            assert old in text
            (folder / "config.yaml").write_text(text.replace(old, new))
            return str(folder)

        return copy

    def test_a_model_and_its_copy_detect_as_it_does_alone(self, run, detecting_model, shapes):
        images = [read_image(str(x), "RGB") for x in sorted((shapes / "val").iterdir())[:2]]
        together = load_ensemble(run, [str(detecting_model)]).detect(images)
        for found, expected in zip(together, Predictor(run).detect(images), strict=True):
            assert torch.equal(found.scores, expected.scores)
            assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)

    def test_versions_are_merged_in_each_model_first(self, run, detecting_model, shapes):
        run = run.with_options(merge_method="wbf", merge_iou_thresh=0.5)
        ensemble = load_ensemble(run, [str(detecting_model)], tta=True)
        assert ensemble.merging == Merging("wbf", 0.5, max_detections=10)
        image = read_image(str(min((shapes / "val").iterdir())), "RGB")
        assert len(ensemble.detect([image])[0]) == 10

    def test_other_classes(self, run, other):
        folder = other("star", "moon")
        with pytest.raises(ValueError, match=f"--ensemble {folder}: .*missing here: star, only"):
            load_ensemble(run, [folder])

    def test_weights_of_another_number(self, run, detecting_model):
        with pytest.raises(ValueError, match="should be 2 numbers above 0"):
            load_ensemble(run.with_options(merge_weights=[1, 2, 3]), [str(detecting_model)])

    def test_no_model(self, run, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere: no trained model"):
            load_ensemble(run, [str(tmp_path / "nowhere")])

    def test_a_model_without_test_time_augmentation(self, run, other):
        folder = other("  tta:", "  none:")
        with pytest.raises(ValueError, match=f"--ensemble {folder}: the config has no dataloader"):
            load_ensemble(run, [folder], tta=True)
