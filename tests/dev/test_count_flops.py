"""Operations counted by hand; a multiplication with its addition counts once."""

import sys

import pytest
import torch
from count_flops import count_flops, find_config
from torch import nn
from torchvision.ops import deform_conv2d

# 8 x 6 outputs of 5 channels, each from 3 x 3 x 4 inputs.
CONV = (8 * 6 * 5) * (3 * 3 * 4)


class Detector(nn.Module):
    """Its head is a convolution of the image's upper left corner with another weight's shape."""

    def __init__(self, deformable):
        super().__init__()
        self.head = Head(deformable)

    def forward(self, batch):
        return self.head(batch[0]["image"][None, :1].expand(1, 4, 8, 6))


class Head(nn.Conv2d):
    def __init__(self, deformable):
        super().__init__(4, 5, 3, padding=1)
        self.deformable = deformable

    def forward(self, x):
        if not self.deformable:
            return super().forward(x)
        return deform_conv2d(x, torch.zeros(1, 18, 8, 6), self.weight, padding=1)


@pytest.mark.parametrize("deformable", [False, True])
def test_convolutions(deformable):
    flops = count_flops(Detector(deformable), 8, 6)
    assert flops[""] == flops["head"] == CONV


def test_table(load_script, monkeypatch, capsys):
    script = load_script("dev/count_flops.py")
    monkeypatch.setattr("tood_d2.config.yaml_run.YamlRun.build_model", lambda self: Detector(False))
    config = "COCO-Detection/retinanet_R_50_FPN_1x.yaml"
    monkeypatch.setattr(sys, "argv", ["count_flops.py", config, "--size", "8", "6"])
    script.main()
    assert capsys.readouterr().out.splitlines()[-1] == f"| {config} | 185 | 0.00 | 0.00 |"


def test_names_of_configs(tmp_path):
    (tmp_path / "a.py").touch()
    assert find_config(str(tmp_path / "a.py")) == str(tmp_path / "a.py")
    assert find_config("tood_R_50_FPN_1x").endswith("configs/tood_R_50_FPN_1x.py")
    name = "COCO-Detection/fcos_R_50_FPN_1x.py"
    assert find_config(name).endswith(name)
    with pytest.raises(ValueError, match="COCO-Detection/x.py"):
        find_config("COCO-Detection/x.py")
