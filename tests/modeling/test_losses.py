"""Scores and losses, by hand and against float64."""

import itertools
import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import generalized_box_iou_loss

from tood_d2.modeling.losses import aligned_logits, centerness, giou_loss, task_aligned_focal_loss

LOG2 = math.log(2)


def logits(limit):
    return st.floats(-limit, limit, width=32)


def value_and_grads(a, b):
    """z, dz/da and dz/db as floats."""
    a, b = (torch.as_tensor(x, dtype=torch.float32).requires_grad_() for x in (a, b))
    z = aligned_logits(a, b)
    return [x.item() for x in (z, *torch.autograd.grad(z, (a, b)))]


class TestAlignedLogits:
    @given(logits(15), logits(15))
    def test_is_the_logit_of_the_root_of_the_product(self, a, b):
        p = np.sqrt(1 / ((1 + np.exp(-np.float64(a))) * (1 + np.exp(-np.float64(b)))))
        z = aligned_logits(torch.tensor(a), torch.tensor(b))
        assert z.item() == pytest.approx(np.log(p / (1 - p)), rel=1e-5, abs=1e-5)
        assert z.sigmoid().item() == pytest.approx(p, rel=1e-5)

    @given(logits(1e4), logits(1e4))
    def test_gradient_is_between_0_and_1(self, a, b):
        _, grad_a, grad_b = value_and_grads(a, b)
        assert -1e-6 <= grad_a <= 1 + 1e-6
        assert -1e-6 <= grad_b <= 1 + 1e-6

    @pytest.mark.parametrize(
        ("a", "b", "z", "grad_a", "grad_b"),
        [
            # p = sqrt(1/2 * 1/2) = 1/2. dz/da = (1 - sigmoid(a)) / (2 * (1 - p)) = 1/2.
            (0, 0, 0, 0.5, 0.5),
            # p = sqrt(1/4 * 1) = 1/2, dz/da = (3/4) / (2 * 1/2)
            (-math.log(3), 200, 0, 0.75, 0),
            # Large: 1 - p = (e^-a + e^-b) / 2 = e^-a, so z = a.
            (200, 200, 200, 0.5, 0.5),
            # Very negative: p = e^((a + b) / 2).
            (-200, -100, -150, 0.5, 0.5),
            (-200, 200, -100, 0.5, 0),
        ],
    )
    def test_known_values(self, a, b, z, grad_a, grad_b):
        assert value_and_grads(a, b) == pytest.approx([z, grad_a, grad_b], rel=1e-5, abs=1e-5)
        assert value_and_grads(b, a) == pytest.approx([z, grad_b, grad_a], rel=1e-5, abs=1e-5)

    @pytest.mark.parametrize("autocast", [False, True])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_extremes(self, dtype, autocast):
        big = torch.tensor(1e4, dtype=dtype).item()  # 9984 in bfloat16
        corners = torch.tensor(list(itertools.product((big, -big), repeat=2)), dtype=dtype)
        a, b = (x.clone().requires_grad_() for x in corners.unbind(dim=1))
        with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
            z = aligned_logits(a, b)
            z.sum().backward()
        # See the limits above, for (+, +), (+, -), (-, +) and (-, -).
        torch.testing.assert_close(z, torch.tensor([big, -big / 2, -big / 2, -big]))
        torch.testing.assert_close(a.grad.float(), torch.tensor([0.5, 0, 0.5, 0.5]))
        torch.testing.assert_close(b.grad.float(), torch.tensor([0.5, 0.5, 0, 0.5]))

    def test_one_alignment_for_all_classes(self):
        a, b = torch.randn(2, 3, 4, 5), torch.randn(2, 1, 4, 5)
        z = aligned_logits(a, b)
        assert z.shape == a.shape
        torch.testing.assert_close(z[:, 2:], aligned_logits(a[:, 2:], b))


class TestTaskAlignedFocalLoss:
    @pytest.mark.parametrize(("gamma", "factors"), [(2.0, (0.25, 0.25)), (1.0, (0.5, 0.5))])
    def test_by_hand(self, gamma, factors):
        # p = 1/2 and 3/4; |y - p| = 1/2 in both.
        # BCE = log 2 and -(1/4 log 3/4 + 3/4 log 1/4) = 0.0719205 + 1.0397208 = 1.1116413.
        loss = task_aligned_focal_loss(
            torch.tensor([0.0, math.log(3)]), torch.tensor([1.0, 0.25]), gamma
        )
        assert loss.item() == pytest.approx(factors[0] * LOG2 + factors[1] * 1.1116413)

    def test_perfect_scores_cost_nothing(self):
        logits = torch.linspace(-5, 5, 11, requires_grad=True)
        loss = task_aligned_focal_loss(logits, logits.detach().sigmoid())
        loss.backward()
        assert loss.item() == 0
        assert (logits.grad == 0).all()

    @pytest.mark.parametrize("autocast", [False, True])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_extremes(self, dtype, autocast):
        big = torch.tensor(1e4, dtype=dtype).item()
        logits = torch.tensor([big, big, -big, -big], dtype=dtype, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
            # Right, wrong, right and wrong: the wrong ones cost |y - p| * BCE = 1 * big.
            loss = task_aligned_focal_loss(logits, torch.tensor([1.0, 0, 0, 1]))
            loss.backward()
        assert loss.dtype == torch.float32
        assert loss.item() == 2 * big
        # The factor |y - p| is flat there, the gradient that of BCE.
        torch.testing.assert_close(logits.grad.float(), torch.tensor([0.0, 1, 0, -1]))

    def test_empty(self):
        assert task_aligned_focal_loss(torch.zeros(0, 3), torch.zeros(0, 3)).item() == 0


class TestCenterness:
    def test_by_hand(self):
        points = torch.tensor([[5.0, 5], [2, 5], [1, 8]])
        boxes = torch.tensor([[0.0, 0, 10, 10]]).expand(3, 4)
        # 1; sqrt(2/8 * 5/5) = 1/2; sqrt(1/9 * 2/8) = 1/6
        expected = torch.tensor([1, 1 / 2, 1 / 6])
        torch.testing.assert_close(centerness(points, boxes), expected)

    def test_sides_of_different_length(self):
        # 4 and 12 px to the sides, 1 and 3 px to top and bottom: sqrt(1/3 * 1/3) = 1/3
        actual = centerness(torch.tensor([[24.0, 11]]), torch.tensor([[20.0, 10, 36, 14]]))
        assert actual.item() == pytest.approx(1 / 3)

    def test_empty(self):
        assert centerness(torch.zeros(0, 2), torch.zeros(0, 4)).shape == (0,)


def testgiou_loss():
    """As torchvision's, of boxes that overlap, contain each other, and don't touch."""
    corners = torch.rand(2, 100, 2, 2, dtype=torch.float64).mul(10).sort(dim=2).values
    boxes1, boxes2 = corners.flatten(2).requires_grad_()
    actual, expected = giou_loss(boxes1, boxes2), generalized_box_iou_loss(boxes1, boxes2)
    torch.testing.assert_close(actual, expected)
    (actual_grad,) = torch.autograd.grad(actual.sum(), boxes1, retain_graph=True)
    (expected_grad,) = torch.autograd.grad(expected.sum(), boxes1)
    torch.testing.assert_close(actual_grad, expected_grad)
    nothing = torch.zeros(1, 4)  # of background
    assert giou_loss(nothing, nothing).isfinite().all()
