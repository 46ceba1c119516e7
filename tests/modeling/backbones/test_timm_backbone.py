"""Backbones of timm give what timm's own networks compute."""

import sys

import pytest
import torch
from torch import nn

from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from tood_d2 import add_tood_config
from tood_d2.modeling import TimmBackbone, build_fpn

timm = pytest.importorskip("timm")
ALL = ("res2", "res3", "res4", "res5")
SWIN = "swin_tiny_patch4_window7_224"
ANY_SIZE = {"strict_img_size": False}


@pytest.mark.parametrize(
    ("name", "settings", "channels"),
    [
        ("test_convnext", {}, [24, 32, 48, 64]),
        ("test_resnet", {}, None),
        ("mobilenetv3_small_050", {}, None),
        (SWIN, ANY_SIZE, [96, 192, 384, 768]),  # in the channels-last layout
        ("hrnet_w18_small", {}, [128, 256, 512, 1024]),
    ],
)
@torch.no_grad()
def test_features_are_those_of_timm(name, settings, channels):
    backbone = TimmBackbone(name, out_features=ALL, **settings).eval()
    network = timm.create_model(name, features_only=True, **settings).eval()
    network.load_state_dict(
        {k.removeprefix("body."): x for k, x in backbone.state_dict().items()}, strict=True
    )
    image = torch.randn(2, 3, 64, 96)
    expected = network(image)[-4:]
    channels = channels or network.feature_info.channels()[-4:]
    for (feature, x), y, own, stride in zip(
        backbone(image).items(), expected, channels, (4, 8, 16, 32), strict=True
    ):
        assert x.shape == (2, own, 64 // stride, 96 // stride)
        assert torch.equal(x, y.permute(0, 3, 1, 2) if name == SWIN else y), feature
        assert backbone.output_shape()[feature] == ShapeSpec(channels=own, stride=stride)


def test_parameters_without_a_use_are_fixed():
    """HRNet's branch of stride 4 does not reach its coarser features in the last stage."""
    backbone = TimmBackbone("hrnet_w18_small", out_features=("res3", "res4", "res5"))
    sum(x.sum() for x in backbone(torch.randn(2, 3, 64, 64)).values()).backward()
    fixed = [x for x in backbone.parameters() if not x.requires_grad]
    assert fixed and all(x.grad is None for x in fixed)
    assert all(x.grad is not None for x in backbone.parameters() if x.requires_grad)


class TestNorms:
    @pytest.mark.parametrize("norm", ["BN", "FrozenStatsBN", "FrozenBN", "SyncBN"])
    def test_norms_with_an_activation_inside(self, norm):
        torch.manual_seed(0)
        expected = TimmBackbone("test_efficientnet").eval()
        backbone = TimmBackbone("test_efficientnet", norm=norm).eval()
        backbone.load_state_dict(expected.state_dict())
        image = torch.randn(1, 3, 64, 64)
        for x, y in zip(backbone(image).values(), expected(image).values(), strict=True):
            torch.testing.assert_close(x, y)
        norms = [x for x in backbone.modules() if isinstance(x, nn.modules.batchnorm._BatchNorm)]
        assert {x.training for x in norms} == {False}
        backbone.train()
        assert {x.training for x in norms} == {norm in ("BN", "SyncBN")}
        assert {x.weight.requires_grad for x in norms} == {norm != "FrozenBN"}

    def test_frozen_stages(self):
        backbone = TimmBackbone("test_efficientnet", freeze_at=2)
        frozen = {name for name, x in backbone.named_parameters() if not x.requires_grad}
        assert {".".join(name.split(".")[1:3]) for name in frozen} == {
            "conv_stem.weight", "bn1.weight", "bn1.bias", "blocks.0", "blocks.1"
        }  # fmt: skip
        assert list(backbone(torch.randn(2, 3, 32, 32))) == ["res3", "res4", "res5"]


def test_other_images():
    backbone = TimmBackbone("test_convnext", in_channels=1, out_norm="LN")
    assert backbone.in_channels == 1
    assert backbone(torch.randn(2, 1, 32, 32))["res5"].shape == (2, 64, 1, 1)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("test_convnxt", {}, "no model 'test_convnxt', but test_convnext"),
        ("hf-hub:somebody/model", {}, "no model"),
        ("test_vit", {}, "stride 16 alone, .*SimplePyramid"),
        ("levit_128s", {}, "no feature res3, only res4, res5"),
        (SWIN, {}, "does not take images of any size, such as 64 x 96"),
        ("test_convnext", {"depth": 50}, "'depth'"),
        (
            "test_convnext",
            {"checkpoint_path": "a.pth"},
            "checkpoint_path .*init_checkpoint=timm://",
        ),
        ("test_convnext", {"norm": "FrozenBN"}, "has no batch norm"),
    ],
)
def test_what_does_not_work_is_named(name, settings, message):
    with pytest.raises(ValueError, match=message):
        TimmBackbone(name, **settings)


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match="pip install timm"):
        TimmBackbone("test_convnext")


def test_yaml_configs():
    cfg = get_cfg()
    add_tood_config(cfg)
    cfg.MODEL.TOOD.CLASSIFIER.NAME = "test_convnext"
    cfg.MODEL.TOOD.CLASSIFIER.OUT_NORM = "LN"
    cfg.MODEL.TOOD.CLASSIFIER.SETTINGS = [["drop_path_rate", 0.1]]
    cfg.MODEL.FPN.OUT_CHANNELS = 8
    build = BACKBONE_REGISTRY.get("build_tood_timm_fpn_backbone")
    fpn = build(cfg, ShapeSpec(channels=3))
    backbone = TimmBackbone("test_convnext", out_norm="LN", freeze_at=2, drop_path_rate=0.1)
    assert repr(fpn) == repr(build_fpn(backbone, out_channels=8))
