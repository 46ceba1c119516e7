"""Operations counted by hand; a multiplication with its addition counts 2."""

import math

import pytest
import torch
from benchmarking import count_flops, matrix_rate
from torch import nn
from torchvision.ops import deform_conv2d

# 8 x 6 outputs of 5 channels, each from 3 x 3 x 4 inputs.
CONV = 2 * (8 * 6 * 5) * (3 * 3 * 4)


@pytest.fixture
def conv():
    return nn.Conv2d(4, 5, 3, padding=1)


def test_convolution(conv):
    x = torch.rand(1, 4, 8, 6)
    assert count_flops(lambda: conv(x)) == CONV
    assert count_flops(lambda: conv(x.repeat(3, 1, 1, 1))) == 3 * CONV


def test_backward_pass(conv):
    x = torch.rand(1, 4, 8, 6, requires_grad=True)
    # Gradients of the weight and of the input cost as much as the output each.
    assert count_flops(lambda: conv(x).sum().backward()) == 3 * CONV


def test_compiled_convolution(conv):
    conv.compile(backend="eager")
    x = torch.rand(1, 4, 8, 6)
    conv(x)
    assert count_flops(lambda: conv(x)) == CONV


def test_deformable_convolution():
    x, weight = torch.rand(1, 4, 8, 6, requires_grad=True), torch.rand(5, 4, 3, 3)
    weight.requires_grad_()
    offset, mask = torch.rand(1, 18, 8, 6), torch.rand(1, 9, 8, 6)

    def forward():
        return deform_conv2d(x, offset, weight, padding=1, mask=mask)

    assert count_flops(forward) == CONV
    assert count_flops(lambda: forward().sum().backward()) == 3 * CONV


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_matrix_rate(dtype):
    rate = matrix_rate(torch.device("cpu"), dtype, size=64, repeats=2)
    assert 0 < rate < math.inf


def test_matrix_rate_leaves_settings():
    before = torch.backends.cuda.matmul.allow_tf32
    matrix_rate(torch.device("cpu"), torch.float32, size=8)
    assert torch.backends.cuda.matmul.allow_tf32 == before
