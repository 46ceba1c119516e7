"""Random inputs are the same for the same seed, inside the image, and resemble the real ones."""

import pytest
import torch
from benchmarking.inputs import (
    grid_anchors,
    random_images,
    random_instances,
    random_logits,
    random_predictions,
)

from detectron2.structures import pairwise_iou


def generator():
    return torch.Generator().manual_seed(0)


def test_images():
    images = random_images(2, (40, 30), generator())
    assert images.shape == (2, 3, 40, 30) and images.dtype == torch.uint8
    assert images.max() > 250 and images.min() < 5
    assert images.equal(random_images(2, (40, 30), generator()))


@pytest.mark.parametrize("size", [(800, 1344), (64, 200), (16, 16)])
def test_instances(size):
    gt = random_instances(2000, size, 7, generator())
    boxes = gt.gt_boxes.tensor
    assert gt.image_size == size
    assert boxes.min() >= 0
    assert boxes[:, 2].max() <= size[1] + 1e-3 and boxes[:, 3].max() <= size[0] + 1e-3
    sides = boxes[:, 2:] - boxes[:, :2]
    longest = min(size) / 2
    assert sides.min() > 8 - 1e-3 and sides.max() < longest + 1e-3
    # Uniform in the logarithm: half of the sides are below the geometric mean.
    assert (sides <= (8 * longest) ** 0.5 + 1e-3).float().mean() > 0.45
    assert gt.gt_classes.unique().tolist() == list(range(7))


def test_anchors(anchor_generator):
    # 100 x 168 + 50 x 84 + 25 x 42 + 13 x 21 + 7 x 11
    anchors = grid_anchors(anchor_generator(), (800, 1344))
    assert len(anchors) == 22400
    widths = anchors.tensor[:, 2] - anchors.tensor[:, 0]
    assert widths.unique().tolist() == [64, 128, 256, 512, 1024]


def test_predictions_approach_objects(anchor_generator):
    anchors = grid_anchors(anchor_generator(), (256, 256))
    gt_boxes = random_instances(20, (256, 256), 3, generator()).gt_boxes
    pred_boxes = random_predictions(anchors, gt_boxes, generator())
    assert len(pred_boxes) == len(anchors)
    best = pairwise_iou(gt_boxes, pred_boxes).amax(dim=1)
    assert best.mean() > 0.6 > 0.4 > pairwise_iou(gt_boxes, anchors).amax(dim=1).mean()


def test_predictions_do_not_depend_on_chunks(monkeypatch, anchor_generator):
    anchors = grid_anchors(anchor_generator(), (256, 256))
    gt_boxes = random_instances(20, (256, 256), 3, generator()).gt_boxes
    expected = random_predictions(anchors, gt_boxes, generator())
    monkeypatch.setattr("benchmarking.inputs.MAX_DISTANCES", 100)
    assert random_predictions(anchors, gt_boxes, generator()).tensor.equal(expected.tensor)


def test_logits():
    scores = random_logits(torch.zeros(1, 80, 100, 100), generator()).sigmoid()
    assert 0.003 < (scores > 0.05).float().mean() < 0.004
