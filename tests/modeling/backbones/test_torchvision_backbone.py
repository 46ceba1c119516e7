"""Backbones of torchvision give what torchvision's own networks compute."""

import copy

import pytest
import torch
import torchvision
from torch import nn

from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.layers.batch_norm import LayerNorm
from detectron2.modeling import BACKBONE_REGISTRY
from tood_d2 import add_tood_config
from tood_d2.modeling import TorchvisionBackbone, build_fpn

ALL = ("res2", "res3", "res4", "res5")
# The layer of each stride that comes last, and its channels: by hand, from the papers' tables.
LAYERS = {
    "mobilenet_v2": {"features.3": 24, "features.6": 32, "features.13": 96, "features.17": 320},
    "mobilenet_v3_small": {"features.1": 16, "features.3": 24, "features.8": 48, "features.11": 96},
    "efficientnet_b0": {"features.2": 24, "features.3": 40, "features.5": 112, "features.7": 320},
    "regnet_x_400mf": {f"trunk_output.block{i}": x for i, x in enumerate((32, 64, 160, 400), 1)},
    "convnext_tiny": {f"features.{i}": x for i, x in ((1, 96), (3, 192), (5, 384), (7, 768))},
    "shufflenet_v2_x0_5": {"maxpool": 24, "stage2": 48, "stage3": 96, "stage4": 192},
    "mnasnet0_5": {"layers.8": 16, "layers.9": 24, "layers.11": 48, "layers.13": 160},
    "densenet121": {f"features.denseblock{i}": x for i, x in ((1, 256), (2, 512), (3, 1024))}
    | {"features.norm5": 1024},
}


def trainable(module):
    return {name for name, x in module.named_parameters() if x.requires_grad}


def small(**settings):
    return TorchvisionBackbone("mobilenet_v2", **{"width_mult": 0.25} | settings)


@pytest.mark.parametrize("name", LAYERS)
def test_features_are_those_of_torchvision(name):
    network = torchvision.models.get_model(name, weights=None).eval()
    backbone = TorchvisionBackbone(name, out_features=ALL).eval()
    # The classifier is in torchvision's files as well.
    weights = {f"body.{k}": x for k, x in network.state_dict().items()}
    backbone.load_state_dict(weights, strict=True)
    expected = []

    def note(module, inputs, output):
        expected.append(output.clone())  # before DenseNet's last ReLU, which works in place

    for layer in LAYERS[name]:
        network.get_submodule(layer).register_forward_hook(note)
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        network(image)
        features = backbone(image)
    for (feature, x), y, channels in zip(
        features.items(), expected, LAYERS[name].values(), strict=True
    ):
        assert torch.equal(x, y), feature
        assert x.shape[1] == backbone.output_shape()[feature].channels == channels
    assert [x.stride for x in backbone.output_shape().values()] == [4, 8, 16, 32]


@pytest.mark.slow
def test_all_classifiers_of_several_strides():
    """All but these, and the ResNets, can be built. The largest RegNets are left out."""
    others = {
        "alexnet", "inception_v3", "maxvit_t", "squeezenet1_0", "squeezenet1_1",
        "swin_b", "swin_s", "swin_t", "swin_v2_b", "swin_v2_s", "swin_v2_t",
        "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32",
    }  # fmt: skip
    refused = set()
    for name in torchvision.models.list_models(module=torchvision.models):
        if name.endswith(("16gf", "32gf", "128gf")):
            continue
        with torch.device("cpu" if name.startswith("regnet") else "meta"):  # which take values
            try:
                backbone = TorchvisionBackbone(name, out_features=ALL)
            except ValueError:
                refused.add(name)
            else:
                assert len(build_fpn(backbone, 8).output_shape()) == 6
    assert {name for name in refused if "resne" not in name} == others


def test_layers_after_the_last_feature_are_left_out():
    names = small(out_features=("res2", "res3")).state_dict()
    assert {int(name.split(".")[2]) for name in names} == set(range(7))


@pytest.mark.parametrize("channels", [1, 4])
def test_other_images(channels):
    backbone = small(in_channels=channels)
    assert backbone.in_channels == channels
    assert backbone(torch.randn(2, channels, 32, 32))["res5"].shape == (2, 80, 1, 1)


def test_pixel_statistics_for_each_channel(tiny_tood):
    with pytest.raises(ValueError, match=r"3 values, but the backbone takes 1 channels"):
        tiny_tood(backbone=build_fpn(small(in_channels=1), out_channels=64))


def test_norm_of_each_feature():
    backbone = small(out_norm="LN").eval()
    assert all(isinstance(x, LayerNorm) for x in backbone.out_norms.values())
    for x in backbone(torch.randn(1, 3, 64, 64)).values():
        torch.testing.assert_close(x.mean(dim=1), torch.zeros_like(x[:, 0]), atol=1e-5, rtol=0)
    assert not list(small().out_norms)


class TestNorms:
    def statistics(self, backbone):
        return [x.clone() for name, x in backbone.named_buffers() if "running" in name]

    @pytest.mark.parametrize(
        ("norm", "has_fixed_statistics", "is_trained"),
        [
            ("BN", False, True),
            ("SyncBN", False, True),
            ("FrozenStatsBN", True, True),
            ("FrozenBN", True, False),
        ],
    )
    def test_what_is_trained(self, norm, has_fixed_statistics, is_trained):
        backbone = small(norm=norm).eval().train()
        before = self.statistics(backbone)
        backbone(torch.randn(2, 3, 64, 64))
        after = self.statistics(backbone)
        equal = {torch.equal(x, y) for x, y in zip(before, after, strict=True)}
        assert equal == {has_fixed_statistics}
        norms = [x for x in backbone.modules() if isinstance(x, nn.modules.batchnorm._BatchNorm)]
        assert {x.weight.requires_grad for x in norms} == {is_trained}
        assert {isinstance(x, nn.SyncBatchNorm) for x in norms} == {norm == "SyncBN"}

    def test_copies_keep_their_statistics_too(self):
        backbone = copy.deepcopy(small(norm="FrozenStatsBN")).eval().train()
        before = self.statistics(backbone)
        backbone(torch.randn(2, 3, 64, 64))
        assert all(map(torch.equal, before, self.statistics(backbone)))

    def test_weights_have_the_same_names(self):
        names = list(small().state_dict())
        for norm in ("FrozenStatsBN", "FrozenBN", "SyncBN"):
            assert list(small(norm=norm).state_dict()) == names

    def test_building_leaves_no_traces(self):
        """The image that the network is measured with changes no statistics."""
        buffers = dict(small().named_buffers())
        assert all(not x.any() for name, x in buffers.items() if name.endswith("running_mean"))
        assert all(not x for name, x in buffers.items() if name.endswith("num_batches_tracked"))


class TestFrozenLayers:
    @pytest.mark.parametrize(("freeze_at", "last"), [(1, 1), (2, 3), (3, 6), (4, 13), (5, 17)])
    def test_up_to_a_stride(self, freeze_at, last):
        backbone = small(freeze_at=freeze_at)
        frozen = {name for name, _ in backbone.named_parameters()} - trainable(backbone)
        assert {int(name.split(".")[2]) for name in frozen} == set(range(last + 1))
        assert {int(name.split(".")[2]) for name in trainable(backbone)} == set(range(last + 1, 18))
        before = backbone.body.get_buffer("features.0.1.running_mean").clone()
        backbone.train()(torch.randn(2, 3, 64, 64))
        assert torch.equal(backbone.body.get_buffer("features.0.1.running_mean"), before)

    def test_nothing_by_default(self):
        backbone = small()
        assert trainable(backbone) == {name for name, _ in backbone.named_parameters()}

    def test_a_stem_of_stride_4_is_frozen_with_its_stage(self):
        with torch.device("meta"):
            stem, stage = (TorchvisionBackbone("convnext_tiny", freeze_at=i) for i in (1, 2))
        assert all(x.requires_grad for x in stem.parameters())
        frozen = {x for x, _ in stage.named_parameters()} - trainable(stage)
        assert {name.split(".")[2] for name in frozen} == {"0", "1"}


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("mobilenetv2", {}, "no classifier 'mobilenetv2', but mobilenet_v2"),
        ("fasterrcnn_resnet50_fpn", {}, "no classifier"),
        ("resnet18", {}, "build_resnet"),
        ("vit_b_16", {}, "vit_b_16 .*does not take images of any size"),
        ("swin_t", {}, "swin_t of torchvision has no feature res3, res4, only res5"),
        ("mobilenet_v2", {"out_features": ("p3",)}, "no feature p3, only stem, res2, res3"),
        ("mobilenet_v2", {"depth": 50}, "mobilenet_v2 of torchvision: .*'depth'"),
        ("mobilenet_v2", {"weights": "DEFAULT"}, "mobilenet_v2 of torchvision: .*'weights'"),
        ("mobilenet_v2", {"norm": "LN"}, "norm of the backbone should be BN or .*, not 'LN'"),
        ("vgg11", {"norm": "FrozenBN"}, "vgg11 of torchvision has no batch norm"),
    ],
)
def test_what_does_not_work_is_named(name, settings, message):
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        TorchvisionBackbone(name, **settings)


def test_yaml_configs():
    cfg = get_cfg()
    add_tood_config(cfg)
    cfg.MODEL.TOOD.CLASSIFIER.NAME = "mobilenet_v2"
    cfg.MODEL.TOOD.CLASSIFIER.OUT_FEATURES = list(ALL)
    cfg.MODEL.TOOD.CLASSIFIER.SETTINGS = [["width_mult", 0.25]]
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.FPN.OUT_CHANNELS = 8
    build = BACKBONE_REGISTRY.get("build_tood_torchvision_fpn_backbone")
    fpn = build(cfg, ShapeSpec(channels=1))
    expected = build_fpn(small(in_channels=1, out_features=ALL), out_channels=8)
    assert repr(fpn) == repr(expected) and trainable(fpn) == trainable(expected)
