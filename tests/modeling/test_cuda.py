"""CUDA gives what the CPU gives, and mixed precision stays finite."""

import copy
import itertools

import pytest
import torch
from torch import nn

from detectron2.structures import Boxes, Instances
from tood_d2.modeling.deform_conv import ModulatedDeformConv2d
from tood_d2.modeling.losses import aligned_logits, task_aligned_focal_loss

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")

DEVICE = "cuda"
INITIAL, TAL = 0, 1  # iterations: the tiny model's initial phase is one iteration long
half_precision = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])


@pytest.fixture(autouse=True)
def full_precision():
    """Without TF32, cuDNN's default."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.fixture
def batch():
    images = torch.randint(256, (2, 3, 128, 160), dtype=torch.uint8)
    instances = [
        Instances((128, 160), gt_boxes=Boxes(boxes), gt_classes=torch.arange(len(boxes)))
        for boxes in (
            torch.tensor([[8.0, 8, 60, 70], [50, 30, 150, 120]]),
            torch.zeros(0, 4),
        )
    ]
    return [{"image": x, "instances": y} for x, y in zip(images, instances, strict=True)]


@pytest.fixture(params=["anchor_free", "anchor_based"])
def model(tiny_tood, request):
    model = tiny_tood(
        head={"anchor_type": request.param, "num_deform_convs": 1}, test_score_thresh=0.02
    )
    # Scores that are far enough apart to be in the same order on both.
    nn.init.normal_(model.head.cls_logits.weight, std=0.1)
    return model


def step(model, batch, iteration):
    losses = model(batch, iteration)
    sum(losses.values()).backward()
    return {name: loss.item() for name, loss in losses.items()}


@pytest.mark.parametrize("iteration", [INITIAL, TAL], ids=["initial", "tal"])
def test_losses_and_gradients(model, batch, iteration):
    on_cuda = copy.deepcopy(model).to(DEVICE)
    expected = step(model, batch, iteration)
    assert step(on_cuda, batch, iteration) == pytest.approx(expected, rel=1e-3)
    for (name, x), y in zip(model.named_parameters(), on_cuda.parameters(), strict=True):
        error = (y.grad.cpu() - x.grad).norm()
        assert error <= 1e-2 * x.grad.norm() + 1e-5, name


@torch.no_grad()
def test_detections(model, batch):
    on_cuda = copy.deepcopy(model).to(DEVICE).eval()
    for x, y in zip(model.eval()(batch), on_cuda(batch), strict=True):
        x, y = x["instances"], y["instances"].to("cpu")
        assert len(x) == len(y) > 0
        torch.testing.assert_close(y.scores, x.scores, rtol=1e-3, atol=1e-4)
        # Nearly equal scores may change places.
        same = (y.pred_classes == x.pred_classes) & (
            (y.pred_boxes.tensor - x.pred_boxes.tensor).abs().amax(dim=1) < 0.1
        )
        assert same.float().mean() > 0.9


@half_precision
@pytest.mark.parametrize("iteration", [INITIAL, TAL], ids=["initial", "tal"])
def test_mixed_precision(model, batch, iteration, dtype):
    model.to(DEVICE)
    with torch.autocast(DEVICE, dtype):
        losses = step(model, batch, iteration)
    assert all(0 < loss < 100 for loss in losses.values())
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name


@half_precision
def test_extreme_logits(dtype):
    big = torch.tensor(1e4, dtype=dtype).item()
    corners = torch.tensor(list(itertools.product((big, -big), repeat=2)), device=DEVICE)
    a, b = (x.to(dtype).requires_grad_() for x in corners.unbind(dim=1))
    with torch.autocast(DEVICE, dtype):
        z = aligned_logits(a, b)
        loss = task_aligned_focal_loss(z, torch.ones_like(z))
    # The limits of tests/modeling/test_losses.py; a target of 1 costs -z where p = 0.
    torch.testing.assert_close(z.cpu(), torch.tensor([big, -big / 2, -big / 2, -big]))
    assert loss.item() == pytest.approx(2 * big)
    loss.backward()
    assert a.grad.isfinite().all()
    assert b.grad.isfinite().all()


def test_deformable_convolution():
    conv = ModulatedDeformConv2d(4, 6, 3, padding=1, deform_groups=2)
    nn.init.normal_(conv.conv_offset.weight, std=0.1)
    on_cuda = copy.deepcopy(conv).to(DEVICE)
    x = torch.randn(2, 4, 7, 9)
    expected, actual = conv(x), on_cuda(x.to(DEVICE))
    torch.testing.assert_close(actual.cpu(), expected, rtol=1e-4, atol=1e-4)
    expected.square().sum().backward()
    actual.square().sum().backward()
    for p, q in zip(conv.parameters(), on_cuda.parameters(), strict=True):
        torch.testing.assert_close(q.grad.cpu(), p.grad, rtol=1e-3, atol=1e-2)
