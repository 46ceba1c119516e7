import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tood_d2.modeling.deform_conv import ModulatedDeformConv2d

GROUPS = 2


@pytest.fixture
def conv():
    """A 3x3 convolution of two offset groups, that come from biases only."""
    return ModulatedDeformConv2d(4, 6, 3, padding=1, deform_groups=GROUPS)


@pytest.fixture
def x():
    return torch.randn(2, 4, 7, 9)


def split_bias(conv):
    """Views of the offsets (groups, 9 positions, dy dx) and the mask logits (groups, 9)."""
    offsets, masks = conv.conv_offset.bias.detach().split((GROUPS * 18, GROUPS * 9))
    return offsets.view(GROUPS, 9, 2), masks.view(GROUPS, 9)


@pytest.mark.parametrize("settings", [{}, {"stride": 2}, {"dilation": 2, "padding": 2}])
def test_starts_as_half_a_convolution(x, settings):
    settings = {"padding": 1} | settings
    conv = ModulatedDeformConv2d(4, 6, 3, deform_groups=GROUPS, **settings)
    # No offsets, masks of sigmoid(0) = 1/2 on the weights but not on the bias.
    expected = F.conv2d(x, conv.weight / 2, conv.bias, **settings)
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-5)


def test_offsets_move_the_input_of_their_group(conv, x):
    offsets, masks = split_bias(conv)
    masks.fill_(100)  # sigmoid is 1
    offsets[0, :, 0] = 1  # channels 0 and 1: one row below
    offsets[1, :, 1] = -2  # channels 2 and 3: two columns to the left
    # Of F.pad: left, right, top, bottom. A kernel that looks one row lower needs 1 - 1 rows above
    # and 1 + 1 below.
    expected = F.conv2d(F.pad(x[:, :2], (1, 1, 0, 2)), conv.weight[:, :2], conv.bias)
    expected += F.conv2d(F.pad(x[:, 2:], (3, 0, 1, 1))[..., :11], conv.weight[:, 2:])
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-5)


def test_masks_weigh_kernel_positions(conv, x):
    _, masks = split_bias(conv)
    masks.fill_(-100)  # sigmoid is 0
    masks[0, 4] = 100  # the centre, of channels 0 and 1
    masks[1, 5] = 100  # right of it, of channels 2 and 3
    expected = F.conv2d(x[:, :2], conv.weight[:, :2, 1:2, 1:2], conv.bias)
    expected += F.conv2d(F.pad(x[:, 2:, :, 1:], (0, 1)), conv.weight[:, 2:, 1:2, 2:3])
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-5)


def test_offsets_are_learned_from_the_input(conv, x):
    nn.init.normal_(conv.conv_offset.weight)
    conv(x).square().sum().backward()
    for name, parameter in conv.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_norm_then_activation(x):
    norm = nn.GroupNorm(2, 6)
    nn.init.normal_(norm.weight)
    conv = ModulatedDeformConv2d(4, 6, 3, padding=1, bias=False, norm=norm, activation=F.relu)
    expected = F.relu(norm(F.conv2d(x, conv.weight / 2, padding=1)))
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-5)
    assert (expected == 0).any()


def test_autocast(conv, x):
    expected = conv(x)
    with torch.autocast("cpu", torch.bfloat16):
        actual = conv(x)
    torch.testing.assert_close(actual.float(), expected, rtol=0.02, atol=0.02)
