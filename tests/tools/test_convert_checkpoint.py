import sys
from pathlib import Path

import pytest
import torch
import torchvision

from tood_d2.checkpoint import (
    convert_to_official_state_dict,
    find_class_names,
    find_state_dict,
    read_checkpoint,
)
from tood_d2.config import load_run

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "tood_R_18_FPN_small.py")


@pytest.fixture
def run(load_script, monkeypatch, capsys, tmp_path):
    """Runs the tool in an empty folder; returns 0 or its error message."""
    tool = load_script("tools/convert_checkpoint.py")
    monkeypatch.chdir(tmp_path)

    def _run(*args):
        monkeypatch.setattr(sys, "argv", ["convert_checkpoint.py", *args])
        try:
            return tool.main()
        except SystemExit as stop:
            assert stop.code == 2
            return capsys.readouterr().err

    return _run


@pytest.fixture(scope="module")
def weights():
    """Weights of the small model without the batch norms' counters, as official models are."""
    torch.manual_seed(0)
    overrides = ["model.backbone.bottom_up.norm=FrozenBN"]
    return load_run(CONFIG, overrides).build_model().state_dict()


def test_official_weights_and_back(run, weights):
    official = convert_to_official_state_dict(weights)
    meta = {"CLASSES": ("cat", "dog")}
    torch.save({"meta": meta, "state_dict": official}, "official.pth")
    assert run("official.pth", "sub/tood.pth") == 0
    assert find_class_names(read_checkpoint("sub/tood.pth")) == ["cat", "dog"]
    assert run("sub/tood.pth", "back.pth", "--to", "official") == 0
    assert find_class_names(read_checkpoint("back.pth")) == ["cat", "dog"]
    back = torch.load("back.pth", weights_only=True)["state_dict"]
    assert back.keys() == official.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in official.items())


def test_safetensors(run, weights):
    pytest.importorskip("safetensors")
    torch.save(weights, "tood.pth")
    assert run("tood.pth", "mmdet.safetensors", "--to", "mmdet") == 0
    assert "bbox_head.cls_decomp.layer_attention.0.weight" in find_state_dict(
        read_checkpoint("mmdet.safetensors")
    )
    assert run("mmdet.safetensors", "again.safetensors") == 0
    again = find_state_dict(read_checkpoint("again.safetensors"))
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in weights.items())


def test_torchvision_weights(run):
    torch.save(torchvision.models.resnet18().state_dict(), "resnet18.pth")
    assert run("resnet18.pth", "backbone.pth") == 0
    names = find_state_dict(read_checkpoint("backbone.pth")).keys()
    assert "backbone.bottom_up.res5.1.conv2.norm.running_var" in names
    assert not any(".fc." in name for name in names)


def test_the_model_is_checked_to_the_last_parameter(run, weights):
    official = convert_to_official_state_dict(weights)
    official["bbox_head.tood_cls.bias"] = torch.zeros(7)
    del official["bbox_head.scales.3.scale"]
    torch.save(official, "official.pth")
    error = run("official.pth", "tood.pth", "--config-file", CONFIG)
    assert "official.pth" in error
    assert "head.scales.3" in error and "head.cls_logits.bias" in error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text", "no checkpoint"),
        ({"atss.weight": torch.ones(1)}, "atss.weight"),
        (None, "wrong.pth"),
    ],
)
def test_wrong_files_are_named(run, tmp_path, content, message):
    path = tmp_path / "wrong.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    error = run("wrong.pth", "out.pth")
    assert "wrong.pth" in error and message in error
    assert not (tmp_path / "out.pth").exists()
