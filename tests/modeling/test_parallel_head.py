import pytest
import torch
import torch.nn.functional as F

from detectron2.structures import Boxes, Instances
from tood_d2.modeling import ParallelHead
from tood_d2.modeling.losses import centerness
from tood_d2.modeling.meta_arch import ALWAYS

STRIDES = (8, 16)


@pytest.fixture
def build_head(anchor_generator):
    def build(**settings):
        settings = {"in_channels": 64, "num_classes": 3, "conv_dim": 64} | settings
        return ParallelHead(anchor_generator=anchor_generator(STRIDES), **settings)

    return build


@pytest.fixture
def build_atss(tiny_tood, build_head):
    """A tiny ATSS detector."""

    def build(**head):
        model = tiny_tood(strides=STRIDES, initial_phase_iters=ALWAYS)
        model.head = build_head(**({"centerness": True} | head))
        return model

    return build


def inputs():
    instances = Instances((64, 96))
    instances.gt_boxes = Boxes(torch.tensor([[8.0, 6.0, 50.0, 44.0], [30.0, 20.0, 90.0, 60.0]]))
    instances.gt_classes = torch.tensor([0, 2])
    return [{"image": torch.randint(0, 256, (3, 64, 96)).float(), "instances": instances}]


def test_parameters(anchor_generator):
    """ATSS's head for COCO, by hand: each branch has 4 * (9 * 256 * 256 + 2 * 256) parameters."""
    head = ParallelHead(
        in_channels=256,
        num_classes=80,
        anchor_generator=anchor_generator(),
        centerness=True,
    )
    branches = 2 * 4 * (9 * 256 * 256 + 2 * 256)
    predictions = (9 * 256 + 1) * (80 + 4 + 1)
    assert sum(p.numel() for p in head.parameters()) == branches + predictions + 5


def test_the_branches_do_not_interact(build_head):
    """Logits do not depend on the box branch, nor boxes on the class branch."""
    features = [torch.randn(1, 64, 8, 12), torch.randn(1, 64, 4, 6)]
    head = build_head()
    before = head(features)
    torch.nn.init.normal_(head.box_branch[0].weight)
    after = head(features)
    assert all(map(torch.equal, before[0], after[0]))
    assert not any(map(torch.equal, before[1], after[1]))
    torch.nn.init.normal_(head.cls_branch[0].weight)
    last = head(features)
    assert all(map(torch.equal, after[1], last[1]))
    assert not any(map(torch.equal, after[0], last[0]))


@pytest.mark.parametrize("anchor_type", ["anchor_free", "anchor_based"])
def test_shapes_and_initial_scores(build_head, anchor_type):
    features = [torch.randn(2, 64, 8, 12), torch.randn(2, 64, 1, 1)]
    logits, boxes, ctr = build_head(anchor_type=anchor_type, centerness=True)(features)
    for maps, channels in ((logits, 3), (boxes, 4), (ctr, 1)):
        assert [tuple(x.shape) for x in maps] == [(2, channels, 8, 12), (2, channels, 1, 1)]
        assert all(x.dtype == torch.float32 for x in maps)
    assert logits[0].sigmoid().mean().item() == pytest.approx(0.01, abs=0.005)
    assert len(build_head()(features)) == 2


def test_atss_losses(build_atss):
    model = build_atss()
    losses = model(inputs(), iteration=10**6)
    assert losses.keys() == {"loss_cls", "loss_box_reg", "loss_centerness"}
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_centerness_loss_is_the_mean_over_positives(build_atss):
    """The mean cross entropy over the positive anchors, computed one by one."""
    model = build_atss()
    batch = inputs()
    images = model.preprocess_image(batch)
    features = list(model.backbone(images.tensor).values())
    gt = [x["instances"] for x in batch]
    pred_logits, pred_boxes, pred_centerness = model.head(features)
    anchors = model.head.anchor_generator(features)
    flat = [
        torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)
        for maps in (pred_logits, pred_boxes, pred_centerness)
    ]
    targets = model.label_anchors(anchors, *flat[:2], gt, images.image_sizes, initial_phase=True)
    centers = Boxes.cat(anchors).get_centers()
    expected = []
    for r in (targets.labels[0] != 3).nonzero()[:, 0]:
        target = centerness(centers[r : r + 1], targets.boxes[0, r : r + 1])
        expected.append(F.binary_cross_entropy(flat[2][0, r].sigmoid(), target))
    assert expected
    losses = model.forward_training(images, anchors, model.head(features), gt, initial_phase=True)
    torch.testing.assert_close(losses["loss_centerness"], torch.stack(expected).mean())


def test_images_without_objects_have_no_centerness_loss(build_atss):
    model = build_atss()
    batch = inputs()
    batch[0]["instances"] = batch[0]["instances"][[]]
    losses = model(batch, iteration=0)
    assert losses["loss_centerness"] == 0 and losses["loss_box_reg"] == 0
    sum(losses.values()).backward()


def test_scores_are_multiplied_by_centerness(build_atss):
    model = build_atss().eval()
    model.test_score_thresh = 0.0
    torch.nn.init.zeros_(model.head.cls_logits.weight)
    torch.nn.init.zeros_(model.head.centerness.weight)
    torch.nn.init.constant_(model.head.cls_logits.bias, 0.0)  # probability 1/2
    torch.nn.init.constant_(model.head.centerness.bias, -1.0986123)  # 1/4, as log(1/3)
    with torch.no_grad():
        (result,) = model(inputs())
    scores = result["instances"].scores
    assert len(scores) > 0
    torch.testing.assert_close(scores, torch.full_like(scores, 1 / 8))
