import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.structures import Boxes, Instances
from tood_d2 import add_tood_config
from tood_d2.modeling import HEADS, TaskAlignedHead
from tood_d2.modeling.box_alignment import align_boxes, decode_distances
from tood_d2.modeling.heads import task_decomposition

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture
def build_head(anchor_generator):
    """A function that builds a head of two levels with 64 channels and two layers."""

    def build(strides=(8, 16), **settings):
        settings = {
            "in_channels": 16,
            "num_classes": 3,
            "anchor_generator": anchor_generator(strides),
            "conv_dim": 64,
            "num_convs": 2,
        } | settings
        return TaskAlignedHead(**settings)

    return build


@pytest.fixture
def build_official_head(build_head):
    """A function that builds a head of the official size."""
    return lambda **settings: build_head(
        (8, 16, 32, 64, 128),
        **{"in_channels": 256, "num_classes": 80, "conv_dim": 256, "num_convs": 6} | settings,
    )


def randomize(module):
    """Initial weights are too small to tell much apart."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.1)
    return module


@pytest.mark.parametrize("num_deform_convs", [0, 1])
@pytest.mark.parametrize("anchor_type", ["anchor_free", "anchor_based"])
def test_output(build_head, anchor_type, num_deform_convs):
    head = build_head(anchor_type=anchor_type, num_deform_convs=num_deform_convs)
    features = [torch.randn(2, 16, 4, 6), torch.randn(2, 16, 2, 3)]
    logits, boxes = head(features)
    assert [x.shape for x in logits] == [(2, 3, 4, 6), (2, 3, 2, 3)]
    assert [x.shape for x in boxes] == [(2, 4, 4, 6), (2, 4, 2, 3)]
    assert all(x.dtype == torch.float32 for x in (*logits, *boxes))


@pytest.mark.parametrize(("num_deform_convs", "expected"), [(0, 4_823_790), (2, 5_321_670)])
def test_parameters_of_the_official_head(build_official_head, num_deform_convs, expected):
    head = build_official_head(num_deform_convs=num_deform_convs)
    assert sum(x.numel() for x in head.parameters()) == expected


def test_initial_parameters(build_official_head):
    head = build_official_head(num_deform_convs=1)
    bias = -math.log(99)  # sigmoid is 0.01
    for name, parameter in head.named_parameters():
        std, mean = torch.std_mean(parameter, correction=0)
        if "scales" in name or name.endswith("norm.weight"):
            expected = (0, 1)
        elif name in ("cls_logits.bias", "cls_alignment.2.bias"):
            expected = (0, bias)
        elif name.endswith(".bias") or "conv_offset" in name:
            expected = (0, 0)
        elif "layer_attention" in name or "box_alignment" in name:
            expected = (0.001, 0)
        else:
            expected = (0.01, 0)
        # Of n values std is uncertain by 1 / sqrt(2n), n >= 192, and the mean by std / sqrt(n).
        assert std.item() == pytest.approx(expected[0], rel=0.2), name
        assert mean.item() == pytest.approx(expected[1], abs=0.3 * expected[0] + 1e-6), name


def test_initial_scores(build_official_head):
    logits, _ = build_official_head()([torch.randn(1, 256, 2, 2)] * 5)
    # sqrt(0.01 * 0.01)
    assert torch.stack(logits).sigmoid().mean().item() == pytest.approx(0.01, rel=0.2)


@pytest.mark.parametrize(("anchor_type", "half_size"), [("anchor_free", 1), ("anchor_based", 4)])
def test_initial_boxes(build_head, anchor_type, half_size):
    head = build_head(anchor_type=anchor_type)
    # Nothing in, nothing out: a distance of exp(0) strides, or the anchor of 8 strides.
    _, boxes = head([torch.zeros(1, 16, 2, 3), torch.zeros(1, 16, 1, 2)])
    for level, stride in enumerate((8, 16)):
        height, width = boxes[level].shape[2:]
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        expected = torch.stack((x - half_size, y - half_size, x + half_size, y + half_size))
        torch.testing.assert_close(boxes[level][0], expected * float(stride))


def test_layers_are_stacked_and_all_are_kept(build_head):
    head = randomize(build_head(num_convs=3))
    feature = torch.randn(2, 16, 4, 5)
    first = head.inter_convs[0](feature)
    second = head.inter_convs[1](first)
    expected = [first, second, head.inter_convs[2](second)]
    torch.testing.assert_close(head.interactive_features(feature), expected)
    conv = head.inter_convs[0]
    torch.testing.assert_close(
        first, F.relu(conv.norm(F.conv2d(feature, conv.weight, padding=1))), rtol=1e-4, atol=1e-5
    )
    assert isinstance(conv.norm, nn.GroupNorm)
    assert conv.norm.num_groups == 32


def expected_decomposition(decomposition, features):
    """Layer attention and reduction step by step, of concatenated layers."""
    pooled = features.mean(dim=(2, 3))
    down, _, up, _ = decomposition.layer_attention
    hidden = F.relu(pooled @ down.weight[:, :, 0, 0].T + down.bias)
    weights = (hidden @ up.weight[:, :, 0, 0].T + up.bias).sigmoid()  # (N, layers)
    assert weights.std() > 0.1
    channels = features.shape[1] // weights.shape[1]
    scaled = features * weights.repeat_interleave(channels, dim=1)[:, :, None, None]
    reduced = F.conv2d(scaled, decomposition.reduction.weight)
    return F.relu(decomposition.reduction.norm(reduced))


@pytest.mark.parametrize(
    ("grad", "rows_of_a_band"), [(True, None), (False, 1), (False, 3), (False, 99)]
)
@pytest.mark.parametrize("size", [(2, 4, 5), (1, 4, 5), (1, 1, 1)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_task_features(build_head, memory_format, size, grad, rows_of_a_band, monkeypatch):
    head = build_head(num_convs=3)
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    number, height, width = size
    if rows_of_a_band:
        monkeypatch.setattr(task_decomposition, "BAND", 3 * 64 * width * rows_of_a_band)
    shape = number, 64, height, width
    layers = [torch.randn(shape).to(memory_format=memory_format) for _ in range(3)]
    with torch.set_grad_enabled(grad):
        features = head.task_features(layers)
        joined = torch.cat(layers, dim=1)
        expected = {
            "cls": expected_decomposition(head.cls_decomposition, joined),
            "box": expected_decomposition(head.box_decomposition, joined),
            "alignment_logits": head.cls_alignment(joined),
            "offsets": head.box_alignment(joined),
        }
    for name, actual in features._asdict().items():
        torch.testing.assert_close(actual, expected[name], rtol=1e-4, atol=1e-3)
        if number > 1 or not grad:  # PyTorch does not tell the formats of one image apart
            assert actual.is_contiguous(memory_format=memory_format), name
        assert actual.requires_grad == grad


def test_score_is_the_root_of_class_and_alignment_probability(build_head):
    head = randomize(build_head())
    features = head.task_features(head.interactive_features(torch.randn(2, 16, 4, 5)))
    classification = head.cls_logits(features.cls).sigmoid()
    alignment = features.alignment_logits.sigmoid()
    scores = head.predict_logits(features).sigmoid()
    torch.testing.assert_close(scores, (classification * alignment).sqrt(), rtol=1e-4, atol=1e-6)


def test_boxes_are_decoded_and_aligned(build_head):
    head = randomize(build_head())
    features = [torch.randn(2, 16, 4, 5), torch.randn(2, 16, 2, 3)]
    _, pred_boxes = head(features)
    changed = False
    for level, anchors in enumerate(head.anchor_generator(features)):
        task_features = head.task_features(head.interactive_features(features[level]))
        reg = head.box_reg(task_features.box)
        boxes = decode_distances(reg, head.scales[level], anchors, stride=(8, 16)[level])
        aligned = align_boxes(boxes, task_features.offsets)
        changed |= not torch.allclose(aligned, boxes)
        torch.testing.assert_close(pred_boxes[level], aligned)
    assert changed


@pytest.mark.parametrize("anchor_type", ["anchor_free", "anchor_based"])
def test_levels_share_the_head_but_not_the_scale(build_head, anchor_type):
    head = randomize(build_head(anchor_type=anchor_type))
    nn.init.ones_(head.scales[0])
    nn.init.ones_(head.scales[1])
    feature = torch.randn(1, 16, 4, 5)
    logits, boxes = head([feature, feature])
    torch.testing.assert_close(logits[0], logits[1])
    torch.testing.assert_close(2 * boxes[0], boxes[1])
    nn.init.constant_(head.scales[1], 0.5)
    _, boxes = head([feature, feature])
    assert not torch.allclose(2 * boxes[0], boxes[1])


@pytest.mark.parametrize("anchor_type", ["anchor_free", "anchor_based"])
def test_one_cell_maps(build_head, anchor_type):
    head = build_head(anchor_type=anchor_type)
    logits, boxes = head([torch.randn(1, 16, 1, 1), torch.randn(1, 16, 1, 1)])
    for maps, channels in ((logits, 3), (boxes, 4)):
        for x in maps:
            assert x.shape == (1, channels, 1, 1)
            assert x.isfinite().all()


@pytest.mark.parametrize("anchor_type", ["anchor_free", "anchor_based"])
@pytest.mark.parametrize("num_deform_convs", [0, 1])
def test_autocast(build_head, anchor_type, num_deform_convs):
    head = build_head(anchor_type=anchor_type, num_deform_convs=num_deform_convs)
    features = [torch.randn(2, 16, 4, 6), torch.randn(2, 16, 2, 3)]
    expected = head(features)
    with torch.autocast("cpu", torch.bfloat16):
        actual = head(features)
    for maps, expected_maps in zip(actual, expected, strict=True):
        # Logits, and boxes in pixels. Their dtype, float32, is compared, too.
        torch.testing.assert_close(maps, expected_maps, rtol=0.05, atol=0.5)


def test_unknown_anchor_type(build_head):
    with pytest.raises(ValueError, match=r"'anchor_free', 'anchor_based'.*'anchor'"):
        build_head(anchor_type="anchor")


def test_several_anchors_per_location(build_head):
    anchor_generator = DefaultAnchorGenerator(
        sizes=[[32], [64]], aspect_ratios=[[0.5, 1.0]], strides=[8, 16]
    )
    with pytest.raises(ValueError, match=r"one anchor per location, not \[2, 2\]"):
        build_head(anchor_generator=anchor_generator)


@pytest.mark.parametrize("num_deform_convs", [0, 1])
def test_checkpointing(build_head, num_deform_convs):
    """The same outputs and gradients, from less that is kept."""
    head = randomize(build_head(num_deform_convs=num_deform_convs))
    features = [torch.randn(2, 16, 8, 12), torch.randn(2, 16, 4, 6)]

    def run(checkpoint):
        head.checkpoint = checkpoint
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x: kept.append(x.nbytes) or x, lambda x: x
        ):
            logits, boxes = head(features)
        loss = sum(x.square().mean() for x in (*logits, *boxes))
        return logits, boxes, torch.autograd.grad(loss, list(head.parameters())), sum(kept)

    *expected, expected_bytes = run(checkpoint=False)
    *actual, actual_bytes = run(checkpoint=True)
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert actual_bytes < expected_bytes / 2


def test_checkpointing_is_off_unless_asked_for(build_head):
    assert build_head().checkpoint is False
    assert build_head(checkpoint=True).checkpoint is True


def test_another_project_plugs_in_a_head_by_its_name():
    @HEADS.register()
    class HeadOfAnotherProject(TaskAlignedHead):
        pass

    cfg = get_cfg()
    add_tood_config(cfg)
    cfg.merge_from_file(str(CONFIGS / "tood_R_50_FPN_1x.yaml"))
    cfg.MODEL.DEVICE, cfg.MODEL.TOOD.HEAD = "cpu", "HeadOfAnotherProject"
    assert isinstance(build_model(cfg).head, HeadOfAnotherProject)


def test_anchors_are_made_once_a_step(tiny_tood, monkeypatch):
    calls, forward = [], DefaultAnchorGenerator.forward
    monkeypatch.setattr(
        DefaultAnchorGenerator, "forward", lambda self, x: calls.append(1) or forward(self, x)
    )
    gt = Instances((32, 64), gt_boxes=Boxes([[4.0, 2.0, 44.0, 31.0]]), gt_classes=torch.tensor([1]))
    tiny_tood()([{"image": torch.zeros(3, 32, 64), "instances": gt}], iteration=0)
    assert calls == [1]
