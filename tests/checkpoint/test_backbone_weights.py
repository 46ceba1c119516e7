"""Weights of a backbone alone, in small files that have the names of the published ones."""

import pytest
import torch
from small_backbones import small_mvit, small_regnet, small_swin, small_vit
from torch import nn

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils.file_io import PathManager
from tood_d2.checkpoint import SafeCheckpointer, fetch_weights
from tood_d2.checkpoint.backbone_weights import place_in_detector


def with_bias(name, *shape):
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def fill(shapes):
    """Random tensors of these shapes, whole numbers where the names say indices."""
    return {
        name: torch.arange(shape[0] * shape[1]).view(shape)
        if "index" in name
        else torch.rand(shape)
        for name, shape in shapes.items()
    }


def swin(dim=8, depths=(2, 1, 1, 1), heads=(1, 2, 2, 2), window=2):
    """As microsoft/Swin-Transformer publishes them, in "model"."""
    shapes = with_bias("patch_embed.proj", dim, 3, 4, 4) | with_bias("patch_embed.norm", dim)
    for stage, depth in enumerate(depths):
        channels = dim << stage
        for i in range(depth):
            block = f"layers.{stage}.blocks.{i}"
            shapes |= with_bias(f"{block}.norm1", channels) | with_bias(f"{block}.norm2", channels)
            table = (2 * window - 1) ** 2, heads[stage]
            shapes[f"{block}.attn.relative_position_bias_table"] = table
            shapes[f"{block}.attn.relative_position_index"] = window**2, window**2
            shapes |= with_bias(f"{block}.attn.qkv", 3 * channels, channels)
            shapes |= with_bias(f"{block}.attn.proj", channels, channels)
            shapes |= with_bias(f"{block}.mlp.fc1", 4 * channels, channels)
            shapes |= with_bias(f"{block}.mlp.fc2", channels, 4 * channels)
            if i % 2:
                shapes[f"{block}.attn_mask"] = 9, window**2, window**2
        if stage < len(depths) - 1:
            shapes[f"layers.{stage}.downsample.reduction.weight"] = 2 * channels, 4 * channels
            shapes |= with_bias(f"layers.{stage}.downsample.norm", 4 * channels)
    return fill(shapes | with_bias("norm", channels) | with_bias("head", 10, channels))


def mae(dim=8, depth=2):
    """As facebookresearch/mae publishes its encoder, in "model"."""
    shapes = {"cls_token": (1, 1, dim), "pos_embed": (1, 1 + 14 * 14, dim)}
    shapes |= with_bias("patch_embed.proj", dim, 3, 16, 16) | with_bias("norm", dim)
    for i in range(depth):
        shapes |= with_bias(f"blocks.{i}.norm1", dim) | with_bias(f"blocks.{i}.norm2", dim)
        shapes |= with_bias(f"blocks.{i}.attn.qkv", 3 * dim, dim)
        shapes |= with_bias(f"blocks.{i}.attn.proj", dim, dim)
        shapes |= with_bias(f"blocks.{i}.mlp.fc1", 4 * dim, dim)
        shapes |= with_bias(f"blocks.{i}.mlp.fc2", dim, 4 * dim)
    return fill(shapes)


def mvit(dim=8):
    """As facebookresearch/mvit publishes them, in "model_state": four stages of one block."""
    shapes = with_bias("patch_embed.proj", dim, 3, 7, 7)
    inputs = dim
    for i, (positions, channels) in enumerate(
        ((111, dim), (55, 2 * dim), (27, 4 * dim), (27, 8 * dim))
    ):
        block = f"blocks.{i}"
        shapes |= with_bias(f"{block}.norm1", inputs) | with_bias(f"{block}.norm2", channels)
        shapes |= with_bias(f"{block}.attn.qkv", 3 * channels, inputs)
        shapes |= with_bias(f"{block}.attn.proj", channels, channels)
        for part in "qkv":
            shapes[f"{block}.attn.pool_{part}.weight"] = dim, 1, 3, 3
            shapes |= with_bias(f"{block}.attn.norm_{part}", dim)
        # 56 positions a side for an image of 224, then 28 and 14; queries have half of those of
        # keys in the last block. Distances are from minus to plus the largest side less one.
        for axis in "hw":
            shapes[f"{block}.attn.rel_pos_{axis}"] = positions, dim
        shapes |= with_bias(f"{block}.mlp.fc1", 4 * channels, channels)
        shapes |= with_bias(f"{block}.mlp.fc2", channels, 4 * channels)
        if i:
            shapes |= with_bias(f"{block}.proj", channels, inputs)
        inputs = channels
    return fill(shapes | with_bias("norm", inputs) | with_bias("head.projection", 10, inputs))


def regnet(widths=(8, 16, 24, 32)):
    """As facebookresearch/pycls publishes them, in "model_state": stages of one block."""

    def batch_norm(name, channels):
        statistics = {f"{name}.running_mean": (channels,), f"{name}.running_var": (channels,)}
        return with_bias(name, channels) | statistics | {f"{name}.num_batches_tracked": ()}

    shapes = {"stem.conv.weight": (8, 3, 3, 3)} | batch_norm("stem.bn", 8)
    inputs = 8
    for i, width in enumerate(widths, start=1):
        shapes[f"s{i}.b1.proj.weight"] = width, inputs, 1, 1
        shapes[f"s{i}.b1.f.a.weight"] = width, inputs, 1, 1
        shapes[f"s{i}.b1.f.b.weight"] = width, 8, 3, 3
        shapes[f"s{i}.b1.f.c.weight"] = width, width, 1, 1
        for norm in ("bn", "f.a_bn", "f.b_bn", "f.c_bn"):
            shapes |= batch_norm(f"s{i}.b1.{norm}", width)
        inputs = width
    return fill(shapes | with_bias("head.fc", 10, inputs))


# File, its content, the backbone, where its weights are, and what no file has.
CASES = {
    "swin": ("swin.pth", lambda: {"model": swin()}, small_swin, "backbone.bottom_up.",
             ("norm1.", "norm2.", "norm3.")),
    "mae": ("mae.pth?matching_heuristics=True", lambda: {"model": mae()}, small_vit,
            "backbone.net.", ("rel_pos_",)),
    "mae without the query": ("mae.pth", lambda: {"model": mae()}, small_vit, "backbone.net.",
                              ("rel_pos_",)),
    "mvit": ("mvit.pyth", lambda: {"model_state": mvit(), "epoch": 3}, small_mvit,
             "backbone.bottom_up.", ("_norm.",)),
    "regnet": ("regnet.pyth", lambda: {"model_state": regnet()}, small_regnet,
               "backbone.bottom_up.", ()),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_published_weights_reach_every_tensor(case, tiny_tood, tmp_path, log):
    name, content, build, place, new = case
    content = content()
    published = content.get("model", content.get("model_state"))
    torch.save(content, tmp_path / name.partition("?")[0])
    # As many channels as the norm before the classifier, which must not end up in the head.
    model = tiny_tood(backbone=build(), head={"conv_dim": 64})
    before = {key: x.clone() for key, x in model.state_dict().items()}
    SafeCheckpointer(model).load(str(tmp_path / name))
    loaded = 0
    for key, tensor in model.state_dict().items():
        own = key.removeprefix(place)
        is_new = own not in published and any(x in own for x in new)
        if is_new or not key.startswith(place):
            assert torch.equal(tensor, before[key]), key
        else:
            assert torch.equal(tensor, published[own]), key
            loaded += 1
    assert f"{loaded} tensors for {place}*" in log.text


def test_heuristics_of_detectron2_agree(tiny_tood, tmp_path):
    """For names that they know and that end up in one place."""
    path = f"{tmp_path}/swin.pth"
    torch.save({"model": {k: x for k, x in swin().items() if not k.startswith("norm.")}}, path)
    states = []
    for checkpointer, query in ((SafeCheckpointer, ""), (DetectionCheckpointer, "True")):
        torch.manual_seed(0)
        model = tiny_tood(backbone=small_swin())
        checkpointer(model).load(f"{path}?matching_heuristics={query}" if query else path)
        states.append(model.state_dict())
    for name, tensor in states[1].items():
        assert torch.equal(states[0][name], tensor), name


def test_biases_of_other_windows_are_interpolated(tiny_tood, tmp_path):
    """A bias that rises by 1 with each row of distances, from windows of 2 to those of 3."""
    published = swin()
    rising = torch.arange(3.0)[:, None].expand(3, 3)
    name = "layers.0.blocks.0.attn.relative_position_bias_table"
    published[name] = rising.reshape(9, 1).clone()
    torch.save({"model": published}, tmp_path / "swin.pth")
    model = tiny_tood(backbone=small_swin(window_size=3))
    index = "layers.0.blocks.0.attn.relative_position_index"
    expected = model.backbone.bottom_up.get_buffer(index).clone()
    SafeCheckpointer(model).load(str(tmp_path / "swin.pth"))
    table = model.backbone.bottom_up.get_parameter(name).detach().view(5, 5)
    assert torch.allclose(table[:, :1].expand(5, 5), table, atol=1e-6)
    assert table[[0, 2, 4], 0].tolist() == pytest.approx([0, 1, 2], abs=1e-6)
    assert 0 < table[1, 0] < 1 < table[3, 0] < 2
    assert torch.equal(model.backbone.bottom_up.get_buffer(index), expected)


def test_a_backbone_of_another_size_is_refused(tiny_tood, tmp_path):
    path = str(tmp_path / "swin.pth")
    torch.save({"model": swin(dim=16)}, path)
    message = r"swin.pth: is of a backbone of another size: patch_embed.proj.weight is \(16, 3, 4"
    with pytest.raises(ValueError, match=message):
        SafeCheckpointer(tiny_tood(backbone=small_swin())).load(path)


def test_grey_images_keep_the_rest(tiny_tood, tmp_path):
    torch.save({"model": swin()}, tmp_path / "swin.pth")
    model = tiny_tood(backbone=small_swin(in_channels=1), pixel_mean=[0.0], pixel_std=[1.0])
    stem = model.backbone.bottom_up.patch_embed.proj.weight.clone()
    checkpointer = SafeCheckpointer(model)
    checkpointer.load(str(tmp_path / "swin.pth"))
    assert torch.equal(model.backbone.bottom_up.patch_embed.proj.weight, stem)
    assert [x[0] for x in checkpointer.incompatible.incorrect_shapes] == [
        "backbone.bottom_up.patch_embed.proj.weight"
    ]


def test_detectors_and_strangers_stay_as_they_are():
    own = {"backbone.bottom_up.a": torch.ones(1), "head.b": torch.ones(2)}
    assert place_in_detector(own, own) is None
    assert place_in_detector({"x": torch.ones(1), "y": torch.ones(1)}, own) is None
    assert place_in_detector({"a": torch.zeros(1), "fc": torch.ones(3)}, own) == {
        "backbone.bottom_up.a": torch.zeros(1)
    }
    assert place_in_detector({}, nn.Module().state_dict()) is None


def test_without_a_network_the_message_names_the_address_and_no_query(monkeypatch):
    def fail(address):
        raise OSError("no network")

    monkeypatch.setattr(PathManager, "get_local_path", fail)
    path = "detectron2://ImageNetPretrained/MAE/mae_pretrain_vit_base.pth?matching_heuristics=True"
    with pytest.raises(OSError, match="cannot be downloaded: no network") as info:
        fetch_weights(path, "train.init_checkpoint")
    url = (
        "https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/MAE/mae_pretrain_vit_base.pth"
    )
    assert f"Download {url} where there is a network" in str(info.value)
