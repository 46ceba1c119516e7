"""SwinBackbone computes what Detectron2's SwinTransformer computes."""

import pytest
import torch
from torch import nn

from detectron2.modeling.backbone import SwinTransformer
from tood_d2.modeling import SwinBackbone
from tood_d2.modeling.backbones.swin import shift_mask

SIZES = {"embed_dim": 12, "depths": (2, 2, 2, 1), "num_heads": (1, 2, 3, 4), "window_size": 3}


@pytest.fixture(scope="module")
def twins():
    torch.manual_seed(0)
    ours = SwinBackbone(**SIZES).eval()
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.3)
    theirs = SwinTransformer(**SIZES, drop_path_rate=0.0, out_indices=(1, 2, 3)).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (75, 101), (20, 9), (1, 1)])
def test_features_are_those_of_detectron2(twins, size):
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        ours, theirs = (model(x) for model in twins)
    assert ours.keys() == theirs.keys()
    for name, feature in theirs.items():
        torch.testing.assert_close(ours[name], feature, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_detectron2(twins):
    x = torch.randn(1, 3, 44, 60)
    gradients = []
    for model in twins:
        model.zero_grad()
        sum(feature.square().mean() for feature in model(x).values()).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, gradient in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], gradient, rtol=1e-4, atol=1e-5)


def test_shifted_windows_do_not_look_across_the_border():
    """Two windows of 2 x 2 tokens, side by side, shifted by 1: by hand.

    The first has tokens that were neighbours, but its lower row came from the top. In the second
    the right column came from the left as well, so that each token is alone.
    """
    mask = shift_mask(1, 2, size=2, shift=1, like=torch.zeros(()))
    rows = torch.tensor([[0, 0, 1, 1], [0, 1, 2, 3]])
    expected = torch.where(rows[:, None] == rows[:, :, None], 0.0, -100.0)
    assert torch.equal(mask, expected)
