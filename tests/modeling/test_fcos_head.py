"""The task-aligned head in Detectron2's FCOS."""

import pytest
import torch

from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from tood_d2.modeling import TaskAlignedFCOSHead, TaskAlignedHead

STRIDES = [8, 16]


@pytest.fixture
def head():
    generator = DefaultAnchorGenerator(
        sizes=[[stride] for stride in STRIDES], aspect_ratios=[1.0], strides=STRIDES, offset=0.5
    )
    head = TaskAlignedFCOSHead(
        in_channels=64, num_classes=3, anchor_generator=generator, conv_dim=64, num_convs=2
    )
    torch.nn.init.normal_(head.box_reg.weight, std=0.3)
    return head


@pytest.fixture
def fcos(head, tiny_tood):
    return FCOS(
        backbone=tiny_tood(strides=STRIDES).backbone,
        head=head,
        num_classes=3,
        test_score_thresh=0.0,
        pixel_mean=(0.0, 0.0, 0.0),
        pixel_std=(255.0, 255.0, 255.0),
    )


@torch.no_grad()
def test_fcos_decodes_the_boxes_of_the_task_aligned_head(head, fcos):
    features = [torch.randn(1, 64, 8, 12), torch.randn(1, 64, 4, 6)]
    logits, deltas, centerness = head(features)
    expected_logits, boxes = TaskAlignedHead.forward(head, features)
    for i, anchors in enumerate(fcos.anchor_generator(features)):
        assert torch.equal(anchors.tensor, head.anchor_generator(features)[i].tensor)
        assert torch.equal(logits[i], expected_logits[i])
        assert centerness[i].shape == (1, 1, *features[i].shape[-2:])
        level_deltas = deltas[i][0].flatten(1).T
        ours = boxes[i][0].flatten(1).T
        theirs = fcos.box2box_transform.apply_deltas(level_deltas, anchors.tensor)
        around = (level_deltas >= 0).all(dim=1)  # FCOS takes no others
        assert around.sum() > len(around) / 2
        torch.testing.assert_close(theirs[around], ours[around])


def test_training_and_inference(fcos):
    instances = Instances((64, 96))
    instances.gt_boxes = Boxes(torch.tensor([[8.0, 6.0, 50.0, 44.0]]))
    instances.gt_classes = torch.tensor([2])
    inputs = [{"image": torch.randint(0, 256, (3, 64, 96)).float(), "instances": instances}]
    with EventStorage():
        losses = fcos(inputs)
    assert losses.keys() == {"loss_fcos_cls", "loss_fcos_loc", "loss_fcos_ctr"}
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in fcos.parameters())
    with torch.no_grad():
        (result,) = fcos.eval()(inputs)
    assert len(result["instances"]) == 100
