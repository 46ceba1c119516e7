"""A model that several requests ask at once."""

import threading

import pytest
import torch
from PIL import Image

from detectron2.structures import Boxes, Instances
from tood_d2.integrations.served_model import ServedModel


class Predictor:
    """Finds three objects, and counts how many ask at once."""

    class_names = ["cat"]
    num_asking = most_asking = 0

    def detect(self, images):
        self.num_asking += 1
        self.most_asking = max(self.most_asking, self.num_asking)
        threading.Event().wait(0.02)
        self.num_asking -= 1
        scores = torch.tensor([0.75, 0.5, 0.25])
        found = {"pred_boxes": Boxes(torch.ones(3, 4)), "scores": scores}
        return [Instances(image.shape[:2], **found) for image in images]


@pytest.fixture
def image(tmp_path):
    Image.new("RGB", (40, 20)).save(path := tmp_path / "a.png")
    return str(path)


def test_detections_from_the_least_score_on(image):
    found = ServedModel(Predictor(), "v1", score_thresh=0.5).detect(image)
    assert found.scores.tolist() == [0.75, 0.5] and found.image_size == (20, 40)


def test_one_request_at_a_time(image):
    model = ServedModel(predictor := Predictor(), "v1", score_thresh=0.5)
    requests = [threading.Thread(target=model.detect, args=(image,)) for _ in range(4)]
    for request in requests:
        request.start()
    for request in requests:
        request.join()
    assert predictor.most_asking == 1


def test_a_file_that_is_no_image(tmp_path):
    (path := tmp_path / "a.png").write_text("text")
    with pytest.raises(ValueError, match="is no image"):
        ServedModel(Predictor(), "v1", score_thresh=0.5).detect(str(path))
