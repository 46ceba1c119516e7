"""Weights by name, with files of our own in place of the downloads."""

import hashlib
from urllib.error import URLError

import pytest
import torch
import torchvision
from iopath.common.file_io import HTTPURLHandler
from torch import nn

from detectron2.utils.file_io import PathManager
from tood_d2.checkpoint import (
    OFFICIAL_MODELS,
    TRAINED_MODELS,
    SafeCheckpointer,
    catalog,
    convert_to_official_state_dict,
    convert_torchvision_state_dict,
    fetch_weights,
    load_weights,
    recognize,
    save_weights,
)
from tood_d2.modeling import TorchvisionBackbone, build_fpn, build_resnet

MODEL = "tood_R_50_FPN_1x"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "get_cache_dir", lambda *_: str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tiny_tood):
    """A small model that has official counterparts of all its parameters."""
    return tiny_tood(backbone=build_fpn(build_resnet(depth=18), out_channels=64))


@pytest.fixture
def no_network(monkeypatch):
    def fail(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(HTTPURLHandler, "_get_local_path", fail)


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Puts weights where the catalog looks for those of the R-50 model."""

    def _publish(state_dict, digest=None):
        file = tmp_path / "original.pth"
        torch.save({"meta": {"epoch": 12}, "state_dict": state_dict}, file)
        digest = digest or hashlib.sha256(file.read_bytes()).hexdigest()[:8]
        file = file.rename(tmp_path / f"original-{digest}.pth")
        monkeypatch.setitem(TRAINED_MODELS, MODEL, str(file))
        return file

    return _publish


@pytest.mark.parametrize("style", ["official", "mmdet"])
def test_trained_models_are_converted_and_cached(model, publish, cache, style):
    expected = {name: torch.randn_like(x) for name, x in model.state_dict().items()}
    original = publish(convert_to_official_state_dict(expected, style))
    load_weights(model, f"tood://{MODEL}", key="weights")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[name])
    original.unlink()  # from now on from the cache
    load_weights(model, f"tood://{MODEL}", key="weights")
    assert [path.name for path in cache.rglob("*.pth")] == [f"{MODEL}.pth"]


def test_a_damaged_download_is_removed(model, publish, cache):
    original = publish(convert_to_official_state_dict(model.state_dict()), digest="00000000")
    with pytest.raises(ValueError, match="damaged"):
        PathManager.get_local_path(f"tood://{MODEL}")
    assert not original.exists()
    assert not list(cache.rglob("*.pth"))


def test_addresses_of_trained_models():
    folder = "https://download.openmmlab.com/mmdetection/v2.0/tood/tood_r50_fpn_1x_coco"
    file = "tood_r50_fpn_1x_coco_20211210_103425-20e20746.pth"
    assert TRAINED_MODELS[MODEL] == f"{folder}/{file}"
    assert all(x.startswith("https://drive.google.com/") for x in OFFICIAL_MODELS.values())


@pytest.mark.parametrize(
    ("path", "url"),
    [
        (f"tood://{MODEL}", TRAINED_MODELS[MODEL]),
        (
            "torchvision://resnet101",
            torchvision.models.ResNet101_Weights.IMAGENET1K_V1.url,
        ),
    ],
)
def test_without_a_network_the_message_says_what_to_fetch(no_network, cache, path, url):
    with pytest.raises(FileNotFoundError) as info:
        fetch_weights(path, "train.init_checkpoint")
    message = str(info.value)
    assert message.startswith(f"{path} (train.init_checkpoint): ") and "no route to host" in message
    target = f"{cache}/tood_d2/{path.replace('://', '/')}.pth"
    assert f"Fetch {url} by hand" in message
    assert f"tools/convert_checkpoint.py DOWNLOADED_FILE {target}" in message


def test_without_a_network_other_addresses_are_explained_too(no_network):
    path = "detectron2://ImageNetPretrained/torchvision/R-50.pkl"
    with pytest.raises(OSError) as info:
        fetch_weights(path, "MODEL.WEIGHTS")
    assert str(info.value).startswith(f"{path} (MODEL.WEIGHTS) cannot be downloaded: ")
    url = "https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/torchvision/R-50.pkl"
    assert f"Download {url} where" in str(info.value)
    with pytest.raises(OSError, match=r"https://x\.org/a\.pth \(k\) cannot be downloaded"):
        load_weights(nn.Linear(1, 1), "https://x.org/a.pth", "k")


def test_weights_that_only_people_can_download():
    with pytest.raises(FileNotFoundError, match="drive.google.com.*convert_checkpoint.py"):
        PathManager.get_local_path("tood://tood_X_101_64x4d_DCN_FPN_2x")


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="'tood_R_18'.*tood_R_50_FPN_1x"):
        PathManager.get_local_path("tood://tood_R_18")
    with pytest.raises(ValueError, match="'resnet7'"):
        PathManager.get_local_path("torchvision://resnet7")


def test_torchvision_backbones_compute_the_same(tmp_path):
    original = torchvision.models.resnet18().eval()
    for module in original.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 1.5)
    torch.save(original.state_dict(), tmp_path / "weights.pth")
    handler = catalog._ConvertedWeights(
        "x", lambda name: str(tmp_path / "weights.pth"), convert_torchvision_state_dict
    )
    weights = torch.load(handler._get_local_path("x://resnet18"), weights_only=True)["model"]

    backbone = build_fpn(build_resnet(depth=18)).eval()
    load_body(backbone, weights)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        x = original.maxpool(original.relu(original.bn1(original.conv1(image))))
        for stage in ("layer1", "layer2", "layer3", "layer4"):
            x = getattr(original, stage)(x)
        ours = backbone.bottom_up(image)["res5"]
    assert torch.allclose(ours, x, rtol=1e-4, atol=1e-4 * x.abs().max())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet50", {"depth": 50}),
        ("resnext101_64x4d", {"depth": 101, "num_groups": 64, "width_per_group": 4}),
    ],
)
def test_names_and_shapes_of_torchvision_backbones(name, options):
    with torch.device("meta"):
        original = torchvision.models.get_model(name)
        backbone = build_fpn(build_resnet(**options))
    load_body(backbone, convert_torchvision_state_dict(original.state_dict()))


def load_body(backbone, weights):
    body = {k.removeprefix("backbone.bottom_up."): x for k, x in weights.items()}
    backbone.bottom_up.load_state_dict(body, strict=True)


@pytest.mark.parametrize("kind", ["by name", "as published", "converted by the tool"])
def test_other_classifiers_of_torchvision(kind, tiny_tood, tmp_path, monkeypatch):
    network = torchvision.models.mobilenet_v2(width_mult=0.25)
    original = tmp_path / "mobilenet_v2.pth"
    torch.save(network.state_dict(), original)
    path = str(original)
    if kind == "by name":
        handler = catalog._ConvertedWeights("x", lambda _: path, convert_torchvision_state_dict)
        path = handler._get_local_path("x://mobilenet_v2")
    elif kind == "converted by the tool":
        path = str(tmp_path / "converted.pth")
        save_weights(recognize(network.state_dict()), path)
    backbone = TorchvisionBackbone("mobilenet_v2", width_mult=0.25, norm="FrozenBN")
    model = tiny_tood(backbone=build_fpn(backbone, out_channels=64))
    checkpointer = SafeCheckpointer(model)
    checkpointer.load(path)
    for name, x in backbone.body.state_dict().items():
        assert torch.equal(x, network.state_dict()[name])
    assert not [x for x in checkpointer.incompatible.missing_keys if "bottom_up" in x]
    assert not checkpointer.incompatible.unexpected_keys


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("resnet50", "resnet50-0676ba61.pth"),
        ("resnet50.IMAGENET1K_V2", "resnet50-11ad3fa6.pth"),
        ("mobilenet_v2", "mobilenet_v2-b0353104.pth"),
        ("regnet_y_128gf", "regnet_y_128gf_swag-c8ce3e52.pth"),  # there is no IMAGENET1K_V1
    ],
)
def test_addresses_of_torchvision(name, file):
    assert catalog._find_torchvision_model(name) == f"https://download.pytorch.org/models/{file}"


def test_other_weights_than_there_are():
    message = r"'IMAGENET1K_V3' of resnet50, but IMAGENET1K_V1, IMAGENET1K_V2"
    with pytest.raises(ValueError, match=message):
        PathManager.get_local_path("torchvision://resnet50.IMAGENET1K_V3")
