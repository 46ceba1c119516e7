"""Weights by name, with files of our own in place of the downloads."""

import hashlib

import pytest
import torch
import torchvision

from detectron2.utils.file_io import PathManager
from tood_d2.checkpoint import catalog, convert_to_official_state_dict
from tood_d2.checkpoint.trained_weights import load_trained_weights
from tood_d2.modeling import build_fpn, build_resnet


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "get_cache_dir", lambda *_: str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tiny_tood):
    """A small model that has official counterparts of all its parameters."""
    return tiny_tood(backbone=build_fpn(build_resnet(depth=18), out_channels=64))


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Puts weights where the catalog looks for those of the R-50 model."""

    def _publish(state_dict, digest=None):
        file = tmp_path / "original.pth"
        torch.save({"meta": {"epoch": 12}, "state_dict": state_dict}, file)
        digest = digest or hashlib.sha256(file.read_bytes()).hexdigest()[:8]
        file = file.rename(tmp_path / f"original-{digest}.pth")
        monkeypatch.setitem(catalog.TRAINED_MODELS, "tood_R_50_FPN_1x", str(file))
        return file

    return _publish


@pytest.mark.parametrize("style", ["official", "mmdet"])
def test_trained_models_are_converted_and_cached(model, publish, cache, style):
    expected = {name: torch.randn_like(x) for name, x in model.state_dict().items()}
    original = publish(convert_to_official_state_dict(expected, style))
    load_trained_weights(model, "tood://tood_R_50_FPN_1x", key="weights")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[name])
    original.unlink()  # from now on from the cache
    load_trained_weights(model, "tood://tood_R_50_FPN_1x", key="weights")
    assert [path.name for path in cache.rglob("*.pth")] == ["tood_R_50_FPN_1x.pth"]


def test_a_damaged_download_is_removed(model, publish, cache):
    original = publish(convert_to_official_state_dict(model.state_dict()), digest="00000000")
    with pytest.raises(ValueError, match="damaged"):
        PathManager.get_local_path("tood://tood_R_50_FPN_1x")
    assert not original.exists()
    assert not list(cache.rglob("*.pth"))


@pytest.mark.parametrize(
    ("handler", "kind", "name", "url"),
    [
        (
            catalog._TrainedModels(),
            "tood",
            "tood_R_50_FPN_1x",
            catalog.TRAINED_MODELS["tood_R_50_FPN_1x"],
        ),
        (
            catalog._TorchvisionBackbones(),
            "torchvision",
            "resnet101",
            torchvision.models.ResNet101_Weights.IMAGENET1K_V1.url,
        ),
    ],
)
def test_no_network(monkeypatch, cache, handler, kind, name, url):
    def fail(url, **_):
        raise OSError("no route to host")

    monkeypatch.setattr(catalog.PathManager, "get_local_path", fail)
    with pytest.raises(FileNotFoundError) as info:
        handler._get_local_path(f"{kind}://{name}")
    message = str(info.value)
    assert "no route to host" in message
    assert url in message
    target = cache / "tood_d2" / kind / f"{name}.pth"
    assert f"tools/convert_checkpoint.py DOWNLOADED_FILE {target}" in message


def test_weights_that_only_people_can_download():
    with pytest.raises(FileNotFoundError, match="drive.google.com.*convert_checkpoint.py"):
        PathManager.get_local_path("tood://tood_X_101_64x4d_DCN_FPN_2x")


def test_no_such_weights():
    with pytest.raises(ValueError, match="'tood_R_18'.*tood_R_50_FPN_1x"):
        PathManager.get_local_path("tood://tood_R_18")
    with pytest.raises(ValueError, match="'resnet7'"):
        PathManager.get_local_path("torchvision://resnet7")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {"depth": 18}),
        ("resnet50", {"depth": 50}),
        ("resnext101_64x4d", {"depth": 101, "num_groups": 64, "width_per_group": 4}),
    ],
)
def test_torchvision_backbones(name, options, tmp_path, monkeypatch):
    torch.manual_seed(1)
    original = torchvision.models.get_model(name).eval()
    for module in original.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 1.5)
    torch.save(original.state_dict(), tmp_path / "weights.pth")
    url = str(tmp_path / "weights.pth")
    monkeypatch.setattr(catalog._TorchvisionBackbones, "find_url", lambda *_: (url, True))
    path = PathManager.get_local_path(f"torchvision://{name}")

    backbone = build_fpn(build_resnet(**options)).eval()
    weights = torch.load(path, weights_only=True)["model"]
    body = {k.removeprefix("backbone.bottom_up."): v for k, v in weights.items()}
    backbone.bottom_up.load_state_dict(body, strict=True)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        x = original.maxpool(original.relu(original.bn1(original.conv1(image))))
        for stage in ("layer1", "layer2", "layer3", "layer4"):
            x = getattr(original, stage)(x)
        ours = backbone.bottom_up(image)["res5"]
    assert torch.allclose(ours, x, rtol=1e-4, atol=1e-4 * x.abs().max())
