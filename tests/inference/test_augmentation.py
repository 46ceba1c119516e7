"""Detection on several versions of an image."""

from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from torch import nn

from detectron2.config import LazyCall as L
from detectron2.config import get_cfg
from detectron2.modeling import DatasetMapperTTA
from detectron2.structures import Boxes, Instances
from tood_d2.config import as_run, load_run
from tood_d2.inference.augmentation import DenseDetectorWithTTA
from tood_d2.inference.merging import Merging

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
BOX = (10, 20, 40, 30)  # of the bright rectangle in an image of 80 x 60 pixels


def picture():
    image = np.zeros((60, 80, 3), np.uint8)
    x1, y1, x2, y2 = BOX
    image[y1:y2, x1:x2] = (255, 200, 0)
    return image


class FindsBright(nn.Module):
    """Finds what is bright in the first channel, with the image's width in thousands as score."""

    test_nms_thresh = 0.5
    max_detections_per_image = 5

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, batched_inputs):
        (sample,) = batched_inputs
        assert set(sample) == {"image"}  # boxes are wanted in pixels of this version
        image = sample["image"]
        self.seen.append(tuple(image.shape[1:]))
        ys, xs = torch.nonzero(image[0] > 127, as_tuple=True)
        box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        instances = Instances(tuple(image.shape[1:]))
        instances.pred_boxes = Boxes(torch.tensor([box], dtype=torch.float32))
        instances.scores = torch.tensor([image.shape[2] / 1000])
        instances.pred_classes = torch.tensor([2])
        return [{"instances": instances}]


@pytest.fixture
def detector():
    mapper = DatasetMapperTTA(min_sizes=[60, 120], max_size=400, flip=True)
    return DenseDetectorWithTTA(FindsBright(), mapper, "RGB")


def detect(detector, **sample):
    (output,) = detector([sample])
    return output["instances"]


def test_boxes_of_all_versions_are_those_of_the_image(detector):
    found = detect(detector, image=torch.from_numpy(picture().transpose(2, 0, 1)))
    assert detector.model.seen == [(60, 80), (60, 80), (120, 160), (120, 160)]
    assert len(found) == 1  # four that are the same for NMS
    assert found.pred_boxes.tensor[0].tolist() == pytest.approx(BOX, abs=0.6)
    assert found.scores.item() == pytest.approx(0.16)  # the best one's
    assert found.pred_classes.item() == 2 and found.image_size == (60, 80)


def test_versions_are_merged_as_wanted(detector):
    """The scores are 0.08 and 0.16, twice each; NMS keeps the largest."""
    image = torch.from_numpy(picture().transpose(2, 0, 1))
    detector.merging = Merging("wbf", iou_thresh=0.5)
    found = detect(detector, image=image)
    assert found.scores.tolist() == pytest.approx([0.12])
    assert found.pred_boxes.tensor[0].tolist() == pytest.approx(BOX, abs=0.6)
    detector.merging = Merging("soft_gaussian", sigma=0.5)
    found = detect(detector, image=image)
    assert len(found) == 4 and found.scores[0].item() == pytest.approx(0.16)
    # The boxes are almost the same: the others fall to about exp(-1 / 0.5) of theirs.
    assert found.scores[1].item() < 0.3 * 0.16


def test_boxes_are_scaled_to_the_size_that_is_asked_for(detector):
    image = torch.from_numpy(picture().transpose(2, 0, 1))
    found = detect(detector, image=image, height=120, width=240)
    expected = (BOX[0] * 3, BOX[1] * 2, BOX[2] * 3, BOX[3] * 2)
    assert found.pred_boxes.tensor[0].tolist() == pytest.approx(expected, abs=1.8)
    assert found.image_size == (120, 240)


@pytest.mark.parametrize("input_format", ["RGB", "BGR"])
def test_images_are_read_anew(detector, tmp_path, input_format):
    """The first channel is bright in RGB only."""
    detector.input_format = input_format
    Image.fromarray(picture()).save(tmp_path / "a.png")
    sample = {"file_name": str(tmp_path / "a.png"), "height": 60, "width": 80}
    sample["image"] = torch.zeros(3, 30, 40)
    if input_format == "BGR":
        with pytest.raises(RuntimeError):  # of the minimum of no pixels
            detect(detector, **sample)
    else:
        found = detect(detector, **sample)
        assert found.pred_boxes.tensor[0].tolist() == pytest.approx(BOX, abs=0.6)


def test_different_classes_are_not_merged_and_the_best_are_kept(detector):
    detector.merging = Merging(iou_thresh=0.5, max_detections=2)
    found = Instances((60, 80), scores=torch.tensor([0.2, 0.3, 0.9]))
    found.pred_boxes = Boxes(torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 9], [-5, 0, 99, 9]]))
    found.pred_classes = torch.tensor([0, 1, 1])
    detector.model.forward = lambda _: [{"instances": found}]
    detector.mapper = DatasetMapperTTA(min_sizes=[60], max_size=400, flip=False)
    found = detect(detector, image=torch.zeros(3, 60, 80, dtype=torch.uint8))
    assert found.scores.tolist() == pytest.approx([0.9, 0.3])
    assert found.pred_boxes.tensor[0].tolist() == [0, 0, 80, 9]  # clipped


def test_both_kinds_of_config(tiny_tood):
    cfg = get_cfg()
    cfg.TEST.AUG.MIN_SIZES, cfg.TEST.AUG.MAX_SIZE, cfg.TEST.AUG.FLIP = (64,), 99, False
    mapper = as_run(cfg).tta_mapper()
    assert (mapper.min_sizes, mapper.flip) == ((64,), False)
    lazy = OmegaConf.create({"dataloader": {}}, flags={"allow_objects": True})
    with pytest.raises(ValueError, match="no dataloader.tta"):
        as_run(lazy).tta_mapper()
    lazy.dataloader.tta = L(DatasetMapperTTA)(min_sizes=[64, 96], max_size=99, flip=True)
    detector = DenseDetectorWithTTA(tiny_tood().eval(), as_run(lazy).tta_mapper(), "RGB")
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8)
    assert detector.mapper.flip
    assert detect(detector, image=image).image_size == (50, 70)


def test_sizes_follow_the_size_of_testing():
    small = str(CONFIGS / "tood_R_18_FPN_small.py")
    assert load_run(small).tta_mapper().min_sizes == [220, 240, 260]
    smaller = ["dataloader.test.mapper.augmentations.0.short_edge_length=120"]
    assert load_run(small, smaller).tta_mapper().min_sizes == [110, 120, 130]
    mapper = load_run(str(CONFIGS / "tood_R_50_FPN_1x.py")).tta_mapper()
    assert mapper.min_sizes == [400, 500, 600, 700, 800, 900, 1000, 1100, 1200]
    assert (mapper.max_size, mapper.flip) == (4000, True)
    own = [
        "dataloader.tta.min_sizes=[50,60]",
        "dataloader.tta.max_size=70",
        "dataloader.tta.flip=False",
    ]
    mapper = load_run(small, own).tta_mapper()
    assert (mapper.min_sizes, mapper.max_size, mapper.flip) == ([50, 60], 70, False)
