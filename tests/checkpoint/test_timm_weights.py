"""timm://NAME, with a file in the place of the download."""

import pytest
import torch

from detectron2.utils.file_io import PathManager
from tood_d2.checkpoint import fetch_weights, timm_weights
from tood_d2.modeling import TimmBackbone

timm = pytest.importorskip("timm")
huggingface_hub = pytest.importorskip("huggingface_hub")
save_file = pytest.importorskip("safetensors.torch").save_file
NAME = "test_convnext"
URL = "https://huggingface.co/timm/test_convnext.r160_in1k/resolve/main/model.safetensors"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(timm_weights, "get_cache_dir", lambda *_: str(tmp_path / "cache"))
    return tmp_path / "cache" / "tood_d2" / "timm"


@pytest.fixture
def network():
    network = timm.create_model(NAME).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return network


def load(path):
    weights = torch.load(PathManager.get_local_path(path), weights_only=True)["model"]
    backbone = TimmBackbone(NAME, out_features=("res2", "res3", "res4", "res5")).eval()
    own = {k.removeprefix("backbone.bottom_up."): x for k, x in weights.items()}
    backbone.load_state_dict(own, strict=True)
    return backbone


@torch.no_grad()
def test_weights_of_the_hub_are_converted_and_cached(network, cache, tmp_path, monkeypatch):
    original = tmp_path / "model.safetensors"
    save_file(network.state_dict(), original)
    asked = []
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *args: asked.append(args) or str(original)
    )
    backbone = load(f"timm://{NAME}")
    assert asked == [("timm/test_convnext.r160_in1k", "model.safetensors")]
    image = torch.randn(1, 3, 64, 64)
    expected = network.forward_intermediates(image, intermediates_only=True)
    for x, y in zip(backbone(image).values(), expected, strict=True):
        assert torch.equal(x, y)
    original.unlink()
    load(f"timm://{NAME}")
    assert len(asked) == 1


def test_without_a_network_the_message_says_what_to_fetch(network, cache, monkeypatch):
    def fail(*_):
        raise FileNotFoundError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(FileNotFoundError) as info:
        fetch_weights(f"timm://{NAME}", "train.init_checkpoint")
    by_hand = cache / f"{NAME}.safetensors"
    assert "no route to host" in str(info.value)
    assert str(info.value).endswith(f"Fetch {URL} by hand and save it as {by_hand}")
    save_file(network.state_dict(), by_hand)
    load(f"timm://{NAME}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("test_convnxt", "no model 'test_convnxt', but test_convnext"),
        ("test_vit", "SimplePyramid"),
        ("test_convnext.in22k", "Invalid pretrained tag"),
    ],
)
def test_unknown_names_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        PathManager.get_local_path(f"timm://{name}")
