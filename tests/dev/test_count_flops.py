"""Operations counted by hand; a multiplication with its addition counts once."""

import sys

import pytest
import torch
from count_flops import count_flops, find_config
from torch import nn
from torchvision.ops import deform_conv2d

from tood_d2.modeling import SwinBackbone

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


class Features(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.head = backbone

    def forward(self, batch):
        return self.head(batch[0]["image"][None])


def test_attention():
    """Swin-T by Eq. 2 of its paper: 4 h w C^2 + 2 M^2 h w C in attention, and 8 h w C^2 after it.

    An image of 224 pixels has 56 x 56 tokens of 96 channels, each of 4 x 4 x 3 values. Three times
    four tokens of C channels become one of 2 C. Norms are some percent more.
    """
    expected = 56**2 * 96 * (4 * 4 * 3)
    for stage, depth in enumerate((2, 2, 6, 2)):
        tokens, channels = (56 >> stage) ** 2, 96 << stage
        expected += depth * tokens * channels * (4 * channels + 2 * 7**2 + 8 * channels)
        if stage < 3:
            expected += tokens // 4 * (4 * channels) * (2 * channels)
    assert 4.4e9 < expected < 4.5e9  # the paper's 4.5 GFLOPs, with the classifier
    found = count_flops(Features(SwinBackbone()).eval(), 224, 224)[""]
    assert expected < found < 1.03 * expected


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
