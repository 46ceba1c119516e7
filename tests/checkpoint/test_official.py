"""Checkpoints of the official code and of MMDetection, and files that are none."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tood_d2.checkpoint import (
    convert_official_state_dict,
    convert_to_official_state_dict,
)
from tood_d2.modeling import build_fpn, build_resnet

REFERENCE = Path(__file__).parent.parent / "reference"

# What MMDetection renamed.
MMDETECTION = {
    "decomp.la_conv1": "decomp.layer_attention.0",
    "decomp.la_conv2": "decomp.layer_attention.2",
    "cls_prob_conv1": "cls_prob_module.0",
    "cls_prob_conv2": "cls_prob_module.2",
    "reg_offset_conv1": "reg_offset_module.0",
    "reg_offset_conv2": "reg_offset_module.2",
}


def official_state_dict(case, style):
    """Zeros by the official code's own names and shapes, which the reference files hold."""
    with np.load(REFERENCE / f"{case}.npz") as file:
        shapes = json.loads(str(file["meta"]))["shapes"]
    if style == "mmdet":
        for official, name in MMDETECTION.items():
            shapes = {key.replace(official, name): shape for key, shape in shapes.items()}
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("style", ["official", "mmdet"])
class TestModels:
    def test_r50(self, tiny_tood, style):
        model = tiny_tood(
            backbone=build_fpn(build_resnet(depth=50)),
            num_classes=80,
            head={"conv_dim": 256, "num_convs": 6},
        )
        state_dict = official_state_dict("model_r50_1x", style)
        counters = {name for name in state_dict if name.endswith("num_batches_tracked")}
        assert counters
        converted = convert_official_state_dict(state_dict)
        assert len(converted) == len(state_dict) - len(counters)
        model.load_state_dict(converted, strict=True)
        assert not any(x.any() for x in model.parameters())
        assert set(convert_to_official_state_dict(model.state_dict(), style)) == set(state_dict)

    def test_head_with_deformable_convolutions(self, tiny_tood, style):
        model = tiny_tood(num_classes=5, head={"num_convs": 6, "num_deform_convs": 2})
        converted = convert_official_state_dict(official_state_dict("head_dcn", style))
        head = {name.removeprefix("head."): x for name, x in converted.items()}
        model.head.load_state_dict(head, strict=True)


@pytest.mark.parametrize(
    ("official", "own"),
    [
        ("backbone.bn1.running_var", "backbone.bottom_up.stem.conv1.norm.running_var"),
        ("backbone.layer1.0.conv3.weight", "backbone.bottom_up.res2.0.conv3.weight"),
        ("backbone.layer3.22.bn2.bias", "backbone.bottom_up.res4.22.conv2.norm.bias"),
        (
            "backbone.layer4.1.conv2.conv_offset.weight",
            "backbone.bottom_up.res5.1.conv2.conv_offset.weight",
        ),
        (
            "backbone.layer2.0.downsample.1.running_mean",
            "backbone.bottom_up.res3.0.shortcut.norm.running_mean",
        ),
        ("neck.lateral_convs.0.conv.bias", "backbone.fpn_lateral3.bias"),
        ("neck.fpn_convs.2.conv.weight", "backbone.fpn_output5.weight"),
        ("neck.fpn_convs.3.conv.weight", "backbone.top_block.p6.weight"),
        ("neck.fpn_convs.4.conv.weight", "backbone.top_block.p7.weight"),
        ("bbox_head.inter_convs.5.gn.bias", "head.inter_convs.5.norm.bias"),
        (
            "bbox_head.inter_convs.1.conv.conv_offset.bias",
            "head.inter_convs.1.conv_offset.bias",
        ),
        (
            "bbox_head.cls_decomp.la_conv2.weight",
            "head.cls_decomposition.layer_attention.2.weight",
        ),
        (
            "bbox_head.reg_decomp.layer_attention.0.bias",
            "head.box_decomposition.layer_attention.0.bias",
        ),
        (
            "bbox_head.reg_decomp.reduction_conv.gn.weight",
            "head.box_decomposition.reduction.norm.weight",
        ),
        ("bbox_head.tood_cls.bias", "head.cls_logits.bias"),
        ("bbox_head.tood_reg.weight", "head.box_reg.weight"),
        ("bbox_head.cls_prob_conv2.bias", "head.cls_alignment.2.bias"),
        ("bbox_head.cls_prob_module.0.weight", "head.cls_alignment.0.weight"),
        ("bbox_head.reg_offset_conv1.weight", "head.box_alignment.0.weight"),
        ("bbox_head.reg_offset_module.2.bias", "head.box_alignment.2.bias"),
        ("bbox_head.scales.4.scale", "head.scales.4"),
    ],
)
def test_name(official, own):
    tensor = torch.ones(())
    assert convert_official_state_dict({official: tensor}) == {own: tensor}


def test_unknown_names():
    state_dict = {
        "bbox_head.tood_cls.bias": torch.ones(3),
        "bbox_head.atss_cls.bias": torch.ones(3),
        "backbone.fc.weight": torch.ones(3),
    }
    with pytest.raises(ValueError, match=r"bbox_head\.atss_cls\.bias, backbone\.fc\.weight$"):
        convert_official_state_dict(state_dict)


@pytest.mark.parametrize("style", ["official", "mmdet"])
@pytest.mark.parametrize("case", ["model_r50_1x", "head_dcn"])
def test_there_and_back(case, style):
    original = official_state_dict(case, style)
    generator = torch.Generator().manual_seed(0)
    for name, tensor in original.items():
        if not name.endswith("num_batches_tracked"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator))
    back = convert_to_official_state_dict(convert_official_state_dict(original), style)
    assert back.keys() == original.keys()
    for name, tensor in original.items():
        assert torch.equal(back[name], tensor)


def test_names_without_official_counterpart():
    with pytest.raises(ValueError, match=r"backbone\.net\.blocks\.0\.weight$"):
        convert_to_official_state_dict({"backbone.net.blocks.0.weight": torch.ones(1)})
