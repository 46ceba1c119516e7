"""Levels of FPNs on features of any strides."""

import pytest
import torch
import torch.nn.functional as F

from detectron2.config import get_cfg
from detectron2.modeling import build_backbone
from tood_d2 import add_tood_config
from tood_d2.modeling import build_fpn, build_resnet


def small_fpn(*out_features, **settings):
    resnet = build_resnet(depth=18, width=8, out_features=out_features)
    return build_fpn(resnet, out_channels=4, **settings).eval()


@pytest.mark.parametrize(
    ("out_features", "num_top_levels", "levels"),
    [
        (("res2", "res3", "res4", "res5"), 2, {2, 3, 4, 5, 6, 7}),
        (("res2", "res3", "res4", "res5"), 1, {2, 3, 4, 5, 6}),
        (("res3", "res4", "res5"), 0, {3, 4, 5}),
        (("res3", "res4"), 3, {3, 4, 5, 6, 7}),
        (("res5",), 1, {5, 6}),
    ],
)
@torch.no_grad()
def test_levels(out_features, num_top_levels, levels):
    fpn = small_fpn(*out_features, num_top_levels=num_top_levels)
    assert {k: x.stride for k, x in fpn.output_shape().items()} == {f"p{i}": 2**i for i in levels}
    features = fpn(torch.randn(1, 3, 128, 256))
    assert {k: tuple(x.shape) for k, x in features.items()} == {
        f"p{i}": (1, 4, 128 >> i, 256 >> i) for i in levels
    }


@torch.no_grad()
def test_levels_on_top_follow_each_other():
    fpn = small_fpn("res3", "res4", num_top_levels=2)
    features = fpn(torch.randn(1, 3, 64, 96))
    for coarse, fine in (("p5", "p4"), ("p6", "p5")):
        conv = fpn.top_block.get_submodule(coarse)
        expected = F.conv2d(features[fine], conv.weight, conv.bias, stride=2, padding=1)
        torch.testing.assert_close(features[coarse], expected)


def test_order_of_the_features_does_not_matter():
    assert list(small_fpn("res5", "res3", "res4").output_shape()) == ["p3", "p4", "p5", "p6", "p7"]


def test_gaps_are_refused():
    with pytest.raises(ValueError, match="res3, res5 of the strides 8, 32: set out_features"):
        small_fpn("res3", "res5")


@pytest.mark.parametrize(
    ("out_features", "levels"),
    [
        (["res2", "res3", "res4", "res5"], ["p2", "p3", "p4", "p5", "p6"]),
        (["res3", "res4", "res5"], ["p3", "p4", "p5"]),
        (["res3", "res4", "res5"], ["p3", "p4", "p5", "p6", "p7"]),
    ],
)
def test_yaml_configs_name_the_levels(out_features, levels):
    cfg = get_cfg()
    add_tood_config(cfg)
    cfg.MODEL.BACKBONE.NAME = "build_tood_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.DEPTH = 18
    cfg.MODEL.RESNETS.OUT_FEATURES = out_features
    cfg.MODEL.FPN.OUT_CHANNELS = 4
    cfg.MODEL.TOOD.IN_FEATURES = levels
    assert list(build_backbone(cfg).output_shape()) == levels


class TestLevelsOfTheHead:
    def test_anchors_of_other_strides_are_refused(self, tiny_tood):
        message = (
            r"model\.head_in_features .* is p3, p4, p5 of the strides \[8, 16, 32\], but the "
            r"anchors' are \[4, 8, 16\]: .*anchor_generator\.strides"
        )
        backbone = build_fpn(build_resnet(depth=18, width=8), out_channels=64, num_top_levels=0)
        with pytest.raises(ValueError, match=message):
            tiny_tood(backbone=backbone, strides=(4, 8, 16))

    def test_as_many_levels_as_anchors(self, tiny_tood):
        backbone = build_fpn(build_resnet(depth=18, width=8), out_channels=64, num_top_levels=0)
        with pytest.raises(ValueError, match=r"\[8, 16, 32\], but the anchors' are \[8, 16\]"):
            tiny_tood(backbone=backbone, strides=(8, 16))

    def test_features_that_are_not_there_are_named(self, tiny_tood):
        backbone = build_fpn(build_resnet(depth=18, width=8), out_channels=64)
        with pytest.raises(ValueError, match=r"has p2, but the backbone has p3, .*num_top_levels"):
            tiny_tood(backbone=backbone, head_in_features=["p2", "p3"])
