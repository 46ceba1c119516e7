import pytest
import torch
import torch.nn.functional as F
from torch import nn

from detectron2.config import get_cfg
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from detectron2.modeling import build_backbone
from tood_d2 import add_tood_config
from tood_d2.modeling import build_fpn, build_resnet
from tood_d2.modeling.backbones.resnet import (
    FoldedNormConv2d,
    FrozenStatsBatchNorm2d,
    fold_fixed_norms,
)
from tood_d2.modeling.deform_conv import ModulatedDeformConv2d


def trainable(module):
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


class TestFrozenStatsBatchNorm2d:
    @pytest.fixture
    def norm(self):
        norm = FrozenStatsBatchNorm2d(3)
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            nn.init.normal_(tensor)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        return norm

    def test_starts_as_the_identity(self):
        x = torch.randn(2, 3, 4, 4)
        torch.testing.assert_close(FrozenStatsBatchNorm2d(3)(x), x)

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("requires_grad", [True, False])
    def test_is_batch_norm_in_evaluation(self, norm, training, requires_grad):
        norm.train(training)
        x = (5 + torch.randn(2, 3, 4, 4)).requires_grad_(requires_grad)
        statistics = [x.clone() for x in norm.buffers()]
        inputs = [norm.weight, norm.bias] + [x] * requires_grad

        expected = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        actual = norm(x)
        torch.testing.assert_close(actual, expected)
        for a, b in zip(
            torch.autograd.grad(actual.square().sum(), inputs),
            torch.autograd.grad(expected.square().sum(), inputs),
            strict=True,
        ):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)
        for before, after in zip(statistics, norm.buffers(), strict=True):
            assert torch.equal(before, after)

    def test_loads_a_batch_norm(self, norm):
        """The names of torchvision's weights, without the counter of batches."""
        state_dict = nn.BatchNorm2d(3).state_dict()
        del state_dict["num_batches_tracked"]
        norm.load_state_dict(state_dict, strict=True)
        assert torch.equal(norm.running_var, torch.ones(3))


class TestFoldedNormConv2d:
    @pytest.fixture(params=[FrozenBatchNorm2d, FrozenStatsBatchNorm2d])
    def conv(self, request):
        """A convolution and a norm, one after the other."""
        norm = request.param(6)
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            nn.init.normal_(tensor)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        return Conv2d(4, 6, 3, stride=2, padding=1, bias=False, norm=norm)

    @pytest.fixture
    def x(self):
        return torch.randn(2, 4, 7, 9, requires_grad=True)

    @pytest.mark.parametrize("bias", [False, True])
    @pytest.mark.parametrize("activation", [None, F.relu])
    @pytest.mark.parametrize("channels_last", [False, True])
    def test_values_and_gradients_are_those_of_both(self, conv, x, bias, activation, channels_last):
        conv.bias = nn.Parameter(torch.randn(6)) if bias else None
        conv.activation = activation
        if channels_last:
            conv.to(memory_format=torch.channels_last)
            x = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
        inputs = [x, *conv.parameters()]  # those of the norm, too, if it trains them
        expected = conv(x)
        gradient = torch.randn_like(expected)
        expected_gradients = torch.autograd.grad(expected, inputs, gradient)

        fold_fixed_norms(conv)
        assert type(conv) is FoldedNormConv2d
        actual = conv(x)
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
        if channels_last:
            assert actual.is_contiguous(memory_format=torch.channels_last)
        gradients = torch.autograd.grad(actual, inputs, gradient)
        for a, b in zip(gradients, expected_gradients, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)

    def test_names_stay(self, conv):
        names = list(conv.state_dict())
        assert "weight" in names and "norm.weight" in names and "norm.running_var" in names
        fold_fixed_norms(conv)
        assert list(conv.state_dict()) == names

    def test_without_norm(self, conv, x):
        fold_fixed_norms(conv)
        conv.norm = None
        expected = F.conv2d(x, conv.weight, stride=2, padding=1)
        torch.testing.assert_close(conv(x), expected)

    def test_other_convolutions_stay(self):
        convs = nn.ModuleList(
            [
                Conv2d(4, 6, 3),
                Conv2d(4, 6, 3, norm=nn.BatchNorm2d(6)),
                ModulatedDeformConv2d(4, 6, 3, norm=FrozenBatchNorm2d(6)),
            ]
        )
        types = [type(conv) for conv in convs]
        fold_fixed_norms(convs)
        assert [type(conv) for conv in convs] == types


class TestResNet:
    @pytest.mark.parametrize(
        ("norm", "folded"),
        [
            ("FrozenStatsBN", {"stem", "res2", "res3", "res4", "res5"}),
            ("FrozenBN", {"stem", "res2", "res3", "res4", "res5"}),
            ("BN", {"stem", "res2"}),
            ("GN", set()),
        ],
    )
    def test_fixed_norms_are_folded(self, norm, folded):
        resnet = build_resnet(depth=18, norm=norm)
        for name, module in resnet.named_modules():
            if isinstance(module, Conv2d):
                stage = name.split(".")[0]
                assert isinstance(module, FoldedNormConv2d) == (stage in folded), name
        state_dict = resnet.state_dict()
        for name in ("stem.conv1", "res3.0.shortcut", "res5.1.conv2"):
            assert f"{name}.weight" in state_dict and f"{name}.norm.weight" in state_dict

    @pytest.mark.parametrize(
        ("freeze_at", "frozen"), [(0, ()), (1, ("stem",)), (2, ("stem", "res2"))]
    )
    def test_frozen_stages(self, freeze_at, frozen):
        resnet = build_resnet(depth=18, freeze_at=freeze_at)
        names = {name for name, _ in resnet.named_parameters()}
        # They keep their affine parameters, which are counted but not trained.
        assert "stem.conv1.norm.weight" in names
        assert trainable(resnet) == {x for x in names if x.split(".")[0] not in frozen}

    def test_frozen_batch_norm_has_no_parameters(self):
        resnet = build_resnet(depth=18, norm="FrozenBN", freeze_at=0)
        assert not [name for name, _ in resnet.named_parameters() if "norm" in name]
        assert isinstance(resnet.res3[0].conv1.norm, FrozenBatchNorm2d)

    def test_batch_norm_is_frozen_in_frozen_stages_only(self):
        resnet = build_resnet(depth=18, norm="BN").train()
        assert isinstance(resnet.res2[0].conv1.norm, FrozenBatchNorm2d)
        norm = resnet.res3[0].conv1.norm
        assert isinstance(norm, nn.BatchNorm2d)
        resnet(torch.randn(2, 3, 32, 32))
        assert norm.running_mean.any()
        assert not resnet.res2[0].conv1.norm.running_mean.any()

    @pytest.mark.parametrize("stride_in_1x1", [False, True])
    def test_place_of_the_stride(self, stride_in_1x1):
        block = build_resnet(depth=50, stride_in_1x1=stride_in_1x1).res3[0]
        strides = [(2, 2), (1, 1)] if stride_in_1x1 else [(1, 1), (2, 2)]
        assert [block.conv1.stride, block.conv2.stride] == strides

    def test_deformable_stages(self):
        resnet = build_resnet(
            depth=50, deform_on_per_stage=(False, False, False, True), deform_groups=2
        )
        deformable = {
            name for name, x in resnet.named_modules() if isinstance(x, ModulatedDeformConv2d)
        }
        assert deformable == {f"res5.{i}.conv2" for i in range(3)}
        # Two groups of an offset pair and a mask at 9 positions.
        assert resnet.res5[0].conv2.conv_offset.out_channels == 2 * 3 * 9
        assert resnet.res5[0].conv2.stride == (2, 2)

    def test_grouped_convolutions(self):
        """ResNeXt's 64x4d: 256, 512, ... channels in 64 groups."""
        resnet = build_resnet(depth=50, num_groups=64, width_per_group=4)
        convs = [stage[0].conv2 for stage in (resnet.res2, resnet.res3, resnet.res4, resnet.res5)]
        assert [conv.out_channels for conv in convs] == [256, 512, 1024, 2048]
        assert {conv.groups for conv in convs} == {64}

    @pytest.mark.parametrize(
        ("depth", "channels"), [(18, [24, 48, 96, 192]), (50, [96, 192, 384, 768])]
    )
    def test_narrow(self, depth, channels):
        """24 instead of 64 channels: three eighths of 64, 128, ... or 256, 512, ..."""
        resnet = build_resnet(depth=depth, width=24, out_features=("res2", "res3", "res4", "res5"))
        assert [x.channels for x in resnet.output_shape().values()] == channels
        assert resnet.stem.conv1.out_channels == resnet.res2[0].conv1.out_channels == 24
        assert resnet(torch.zeros(1, 3, 32, 64))["res5"].shape == (1, channels[-1], 1, 2)

    @pytest.mark.parametrize("settings", [{"num_groups": 2}, {"deform_on_per_stage": [True] * 4}])
    def test_basic_blocks_are_neither(self, settings):
        with pytest.raises(ValueError, match="ResNet-18"):
            build_resnet(depth=18, **settings)


class TestFPN:
    @pytest.fixture
    def fpn(self):
        return build_fpn(build_resnet(depth=18), out_channels=8).eval()

    @torch.no_grad()
    def test_strides(self, fpn):
        assert {k: v.stride for k, v in fpn.output_shape().items()} == {
            "p3": 8,
            "p4": 16,
            "p5": 32,
            "p6": 64,
            "p7": 128,
        }
        assert fpn.size_divisibility == 32
        features = fpn(torch.randn(1, 3, 128, 192))
        assert {name: tuple(x.shape) for name, x in features.items()} == {
            "p3": (1, 8, 16, 24),
            "p4": (1, 8, 8, 12),
            "p5": (1, 8, 4, 6),
            "p6": (1, 8, 2, 3),
            "p7": (1, 8, 1, 2),  # rounded up
        }

    @torch.no_grad()
    def test_p6_and_p7_are_convolutions_of_p5(self, fpn):
        features = fpn(torch.randn(1, 3, 128, 192))
        p6, p7 = (
            F.conv2d(features[source], conv.weight, conv.bias, stride=2, padding=1)
            for source, conv in (("p5", fpn.top_block.p6), ("p6", fpn.top_block.p7))
        )
        torch.testing.assert_close(features["p6"], p6)
        torch.testing.assert_close(features["p7"], p7)

    def test_negative_p6_reaches_p7(self):
        top_block = build_fpn(build_resnet(depth=18), out_channels=1).top_block
        nn.init.constant_(top_block.p6.weight, -1)
        nn.init.constant_(top_block.p7.weight, 2)
        p6, p7 = top_block(torch.ones(1, 1, 1, 1))
        assert (p6.item(), p7.item()) == (-1, -2)


def test_parameters_of_the_official_model(tiny_tood):
    """R-50 with 80 classes; the number is the official code's."""
    model = tiny_tood(
        backbone=build_fpn(build_resnet(depth=50)),
        num_classes=80,
        head={"conv_dim": 256, "num_convs": 6},
    )
    assert sum(x.numel() for x in model.parameters()) == 32_200_494


def test_builder_reads_the_config():
    cfg = get_cfg()
    add_tood_config(cfg)
    cfg.MODEL.BACKBONE.NAME = "build_tood_resnet_fpn_backbone"
    cfg.MODEL.BACKBONE.FREEZE_AT = 1
    cfg.MODEL.RESNETS.DEPTH = 18
    cfg.MODEL.RESNETS.NORM = "FrozenStatsBN"
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res3", "res4", "res5"]
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    backbone = build_backbone(cfg)
    assert {
        name: shape.channels for name, shape in backbone.output_shape().items()
    } == dict.fromkeys(("p3", "p4", "p5", "p6", "p7"), 16)
    names = trainable(backbone)
    assert "bottom_up.res2.0.conv1.norm.weight" in names
    assert "bottom_up.stem.conv1.weight" not in names
