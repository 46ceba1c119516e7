"""Detectron2's Swin, ViT, MViT and RegNet in a TOOD."""

import pytest
import torch
from small_backbones import small_mvit, small_regnet, small_swin, small_vit

from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from tood_d2 import add_tood_config
from tood_d2.modeling import (
    LayerDecay,
    MViTBackbone,
    RegNetBackbone,
    SwinBackbone,
    ViTBackbone,
)

FAMILIES = {"swin": small_swin, "vit": small_vit, "mvit": small_mvit, "regnet": small_regnet}
TRANSFORMERS = {name: FAMILIES[name] for name in ("swin", "vit", "mvit")}
families = pytest.mark.parametrize("build", FAMILIES.values(), ids=FAMILIES)
transformers = pytest.mark.parametrize("build", TRANSFORMERS.values(), ids=TRANSFORMERS)


def samples(*sizes):
    """Images of random pixels with one object each."""
    batch = []
    for height, width in sizes:
        gt = Instances((height, width))
        gt.gt_boxes = Boxes(torch.tensor([[4.0, 2.0, width - 5.0, height - 3.0]]))
        gt.gt_classes = torch.tensor([1])
        image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
        batch.append({"image": image, "instances": gt})
    return batch


def losses(model, batch):
    with EventStorage():
        return model(batch)


@families
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_two_steps_of_training_and_odd_sizes(build, dtype, tiny_tood):
    model = tiny_tood(backbone=build(freeze_at=0) if build is small_regnet else build())
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    start = {name: x.detach().clone() for name, x in model.named_parameters()}
    for _ in range(2):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            found = losses(model, samples((45, 71), (70, 33)))
        sum(found.values()).backward()
        assert all(x.grad is not None and x.grad.isfinite().all() for x in model.parameters())
        optimizer.step()
    moved = [name for name, x in model.named_parameters() if not torch.equal(x, start[name])]
    assert len(moved) == len(start)

    model.eval()
    with torch.no_grad():
        results = model([{"image": x["image"]} for x in samples((45, 71), (1, 1), (64, 96))])
    for result, (height, width) in zip(results, ((45, 71), (1, 1), (64, 96)), strict=True):
        boxes = result["instances"].pred_boxes.tensor
        assert boxes.isfinite().all() and (boxes >= 0).all()
        assert (boxes <= torch.tensor([width, height, width, height])).all()


@families
def test_shapes_of_the_levels(build):
    backbone = build().eval()
    with torch.no_grad():
        features = backbone(torch.zeros(2, 3, 64, 96))
    shapes = backbone.output_shape()
    assert list(features) == list(shapes) == ["p3", "p4", "p5", "p6", "p7"]
    assert [x.stride for x in shapes.values()] == [8, 16, 32, 64, 128]
    sides = [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]
    assert [tuple(x.shape) for x in features.values()] == [(2, 64, *side) for side in sides]
    assert backbone.size_divisibility == 32


@families
def test_weights_can_be_saved_and_loaded(build, tiny_tood):
    one, other = (tiny_tood(backbone=build()).eval() for _ in range(2))
    image = torch.rand(1, 3, 64, 96)
    other.load_state_dict(one.state_dict(), strict=True)
    with torch.no_grad():
        for name, feature in one.backbone(image).items():
            assert torch.equal(feature, other.backbone(image)[name])


@transformers
def test_gradients_with_less_memory_are_the_same(build):
    """Blocks that are left out at random are left out again when they are computed anew."""
    images, gradients = torch.rand(2, 3, 64, 64), []
    for checkpoint in (False, True):
        torch.manual_seed(0)
        backbone = build(checkpoint=checkpoint, drop_path_rate=0.5).train()
        torch.manual_seed(1)
        sum(x.square().sum() for x in backbone(images).values()).backward()
        gradients.append([x.grad for x in backbone.parameters()])
        names = [name for name, _ in backbone.named_parameters()]
    for name, one, other in zip(names, *gradients, strict=True):
        torch.testing.assert_close(one, other, msg=name)


@transformers
def test_blocks_are_left_out_in_training_alone(build):
    backbone = build(drop_path_rate=0.9)
    images = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        backbone.train()
        assert not torch.equal(backbone(images)["p3"], backbone(images)["p3"])
        backbone.eval()
        assert torch.equal(backbone(images)["p3"], backbone(images)["p3"])


def trainable(backbone, prefix):
    return any(x.requires_grad for name, x in backbone.named_parameters() if prefix in name)


def test_frozen_stages():
    swin = {x: small_swin(freeze_at=x).bottom_up for x in (0, 1, 2, 3)}
    parts = ("patch_embed", "layers.0.", "layers.1.", "layers.2.")
    for freeze_at, backbone in swin.items():
        found = [trainable(backbone, part) for part in parts]
        assert found == [i >= freeze_at for i in range(4)], freeze_at
    # A frozen block is not left out: its features are those that the others get in testing.
    blocks = small_swin(freeze_at=2, drop_path_rate=0.9).bottom_up.layers
    assert blocks[0].blocks[1].drop_path(torch.ones(8)).eq(1).all()
    assert not blocks[1].blocks[0].drop_path.train()(torch.ones(64, 1)).eq(1).all()

    regnet = {x: small_regnet(freeze_at=x).bottom_up for x in (0, 1, 2, 3)}
    parts = ("stem", "s1.", "s2.", "s3.")
    for freeze_at, backbone in regnet.items():
        found = [trainable(backbone, part) for part in parts]
        assert found == [i >= freeze_at for i in range(4)], freeze_at


@pytest.mark.parametrize("name", ["Swin", "RegNet", "ViT", "MViT"])
def test_grey_images(name):
    kinds = {"Swin": small_swin, "RegNet": small_regnet, "ViT": small_vit, "MViT": small_mvit}
    backbone = kinds[name](in_channels=1).eval()
    assert backbone(torch.zeros(1, 1, 32, 32))["p5"].shape == (1, 64, 1, 1)


@pytest.mark.parametrize("build", [small_swin, small_regnet, small_mvit])
def test_other_numbers_of_channels_than_pixel_mean_has(build, tiny_tood):
    with pytest.raises(ValueError, match="the backbone takes 1 channels"):
        tiny_tood(backbone=build(in_channels=1))


def test_published_numbers_of_parameters():
    """Of Swin-T, without its classifier of 1000 classes, with three norms in place of one."""
    swin_t = 28_288_354 - 1000 * (768 + 1)
    assert count(SwinBackbone()) == swin_t - 2 * 768 + 2 * (192 + 384 + 768)


def count(module):
    return sum(x.numel() for x in module.parameters())


def test_wrong_features_are_refused():
    with pytest.raises(
        ValueError, match=r"OUT_FEATURES \(YAML\) should be some of p0, .* not res3"
    ):
        SwinBackbone(out_features=("res3",))
    with pytest.raises(ValueError, match=r"some of s1, s2, s3, the stages .* w_m 1.5 make, not s4"):
        RegNetBackbone(depth=4, w_0=8, w_a=8, w_m=1.5, group_width=8, out_features=("s4",))


@pytest.mark.parametrize("backbone", [ViTBackbone, MViTBackbone])
def test_without_timm_the_message_says_what_to_install(backbone, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs the package timm: pip install timm"):
        backbone()


def test_vit_pads_to_squares():
    backbone = small_vit(square_pad=64)
    assert backbone.size_divisibility == 64 and not backbone.padding_constraints
    assert small_vit().size_divisibility == 32


def test_images_beyond_the_square_are_seen_whole(tiny_tood):
    model = tiny_tood(backbone=small_vit(square_pad=64))
    images = model.preprocess_image([{"image": torch.ones(3, 70, 50)}])
    assert images.tensor.shape == (1, 3, 128, 64)


def test_layer_decay():
    """ViTDet's rates: 0.5 a block here, the embedding is one below block 0."""
    decay = LayerDecay(rate=0.5, depth=2)
    assert decay("head.cls_logits.weight") == decay("backbone.simfp_3.0.weight") == 1
    assert decay("backbone.net.blocks.1.attn.qkv.weight") == 0.5
    assert decay("backbone.net.blocks.0.norm1.bias") == 0.25
    assert decay("backbone.net.pos_embed") == decay("backbone.net.patch_embed.proj.bias") == 0.125


def test_keys_of_yaml_configs():
    cfg = get_cfg()
    add_tood_config(cfg)
    cfg.MODEL.DEVICE, cfg.MODEL.META_ARCHITECTURE = "cpu", "TOOD"
    cfg.MODEL.BACKBONE.NAME = "build_tood_swin_fpn_backbone"
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[64], [128], [256], [512], [1024]]
    cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS = [[1.0]]
    node = cfg.MODEL.TOOD.SWIN
    node.EMBED_DIM, node.DEPTHS, node.NUM_HEADS, node.WINDOW_SIZE = 8, [1, 1, 1, 2], [1] * 4, 3
    node.DROP_PATH_RATE, node.CHECKPOINT = 0.4, True
    swin = build_model(cfg).backbone.bottom_up
    assert [len(x.blocks) for x in swin.layers] == [1, 1, 1, 2]
    assert swin.layers[3].blocks[1].drop_path.p == pytest.approx(0.4)
    assert swin.layers[0].window_size == 3 and swin.layers[0].use_checkpoint

    cfg.MODEL.BACKBONE.NAME = "build_tood_regnet_fpn_backbone"
    node = cfg.MODEL.TOOD.REGNET
    node.STEM_WIDTH, node.DEPTH, node.W_0, node.W_A, node.W_M = 8, 4, 8, 8.0, 1.4
    node.GROUP_WIDTH, node.SE_RATIO, node.NORM = 8, 0.25, "BN"
    regnet = build_model(cfg).backbone.bottom_up
    assert [x.channels for x in regnet.output_shape().values()] == [16, 24, 32]
    block = regnet.s4.b1.f  # s1 is frozen
    assert block.se is not None and isinstance(block.a_bn, torch.nn.BatchNorm2d)
