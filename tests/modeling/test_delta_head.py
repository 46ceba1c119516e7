"""The task-aligned head in other detectors."""

import pytest
import torch

from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransformLinear
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from tood_d2.modeling import FoveaBox, LogDistanceTransform, TaskAlignedDeltaHead, TaskAlignedHead

STRIDES = [8, 16]
DETECTORS = {FCOS: Box2BoxTransformLinear, FoveaBox: LogDistanceTransform}


@pytest.fixture(params=DETECTORS)
def detector(request, tiny_tood):
    generator = DefaultAnchorGenerator(
        sizes=[[stride] for stride in STRIDES], aspect_ratios=[1.0], strides=STRIDES, offset=0.5
    )
    head = TaskAlignedDeltaHead(
        in_channels=64,
        num_classes=3,
        anchor_generator=generator,
        box2box_transform=DETECTORS[request.param](),
        centerness=request.param is FCOS,
        conv_dim=64,
        num_convs=2,
    )
    torch.nn.init.normal_(head.box_reg.weight, std=0.1)
    return request.param(
        backbone=tiny_tood(strides=STRIDES).backbone,
        head=head,
        num_classes=3,
        test_score_thresh=0.0,
        pixel_mean=(0.0, 0.0, 0.0),
        pixel_std=(255.0, 255.0, 255.0),
    )


@torch.no_grad()
def test_detectors_decode_the_boxes_of_the_task_aligned_head(detector):
    features = [torch.randn(2, 64, 8, 12), torch.randn(2, 64, 4, 6)]
    logits, deltas, *centerness = detector.head(features)
    expected_logits, boxes = TaskAlignedHead.forward(detector.head, features)
    assert len(centerness) == (type(detector) is FCOS)
    for i, anchors in enumerate(detector.anchor_generator(features)):
        assert torch.equal(anchors.tensor, detector.head.anchor_generator(features)[i].tensor)
        assert torch.equal(logits[i], expected_logits[i])
        for level in centerness:
            assert level[i].shape == (2, 1, *features[i].shape[-2:])
        for image in range(2):
            level_deltas = deltas[i][image].flatten(1).T
            ours = boxes[i][image].flatten(1).T
            theirs = detector.box2box_transform.apply_deltas(level_deltas, anchors.tensor)
            centers = anchors.get_centers()
            # The detectors take no boxes that don't reach around the location.
            reach = torch.cat((centers - ours[:, :2], ours[:, 2:] - centers), dim=1)
            around = (reach > STRIDES[i] / 8).all(dim=1)
            assert around.sum() > len(around) / 2
            torch.testing.assert_close(theirs[around], ours[around])


def test_checkpointing(detector):
    features = [torch.randn(2, 64, 8, 12), torch.randn(2, 64, 4, 6)]

    def run(checkpoint):
        detector.head.checkpoint = checkpoint
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x: kept.append(x.nbytes) or x, lambda x: x
        ):
            outputs = detector.head(features)
        loss = sum(x.square().mean() for maps in outputs for x in maps)
        return outputs, torch.autograd.grad(loss, list(detector.head.parameters())), sum(kept)

    *expected, expected_bytes = run(checkpoint=False)
    *actual, actual_bytes = run(checkpoint=True)
    torch.testing.assert_close(actual, expected)
    assert actual_bytes < expected_bytes


def test_training_and_inference(detector):
    instances = Instances((64, 96))
    instances.gt_boxes = Boxes(torch.tensor([[8.0, 6.0, 50.0, 44.0]]))
    instances.gt_classes = torch.tensor([2])
    inputs = [{"image": torch.randint(0, 256, (3, 64, 96)).float(), "instances": instances}]
    with EventStorage():
        losses = detector(inputs)
    assert len(losses) == (3 if type(detector) is FCOS else 2)
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())
    with torch.no_grad():
        (result,) = detector.eval()(inputs)
    assert len(result["instances"]) == 100
