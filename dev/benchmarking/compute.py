"""Floating-point operations, and the rate that a device does them at.

A multiplication with its addition counts twice, as PyTorch and makers of hardware count; once in
dev/count_flops.py, as in the paper.
"""

import math
import time
from collections.abc import Callable

import torch
import torchvision  # noqa: F401  it defines the operator
from torch.utils.flop_counter import FlopCounterMode

MAX_SECONDS = 10  # to find out a rate; float16 is slow on some CPUs


def _deform_conv_flops(input_shape, weight_shape, *args, out_shape, **kwargs) -> int:
    """Of the convolution only, not of sampling its input."""
    return 2 * math.prod(out_shape) * math.prod(weight_shape[1:])


def _deform_conv_backward_flops(grad_shape, input_shape, weight_shape, *args, **kwargs) -> int:
    """Gradients of the weight and of the sampled input."""
    return 4 * math.prod(grad_shape) * math.prod(weight_shape[1:])


_DEFORM_CONV_FLOPS = {
    torch.ops.torchvision.deform_conv2d: _deform_conv_flops,
    torch.ops.torchvision._deform_conv2d_backward: _deform_conv_backward_flops,
}


def count_flops(function: Callable[[], object]) -> int:
    """Calls a function and counts the operations of its convolutions and matrix products.

    What is compiled runs uncompiled, for it would not be counted.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_DEFORM_CONV_FLOPS)
    with torch.compiler.set_stance("force_eager"), counter:
        function()
    return counter.get_total_flops()


def matrix_rate(
    device: torch.device, dtype: torch.dtype, size: int | None = None, repeats: int = 5
) -> float:
    """The rate of the product of two square matrices: what a device really achieves at best.

    In float32 on a GPU, TF32 is used if convolutions use it.

    Args:
        device, dtype: of the matrices.
        size: rows of a matrix, by default 8192 on a GPU and 2048 on a CPU.
        repeats: number of products, fewer if they take long; the fastest counts.

    Returns:
        Operations per second.
    """
    size = size or (8192 if device.type == "cuda" else 2048)
    a, b = torch.rand(2, size, size, device=device).to(dtype)
    out = torch.empty_like(a)
    best = math.inf
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        begin = time.perf_counter()
        for _ in range(1 + repeats):  # the first one sets libraries up and is not the fastest
            start = time.perf_counter()
            if start - begin > MAX_SECONDS:
                break
            torch.mm(a, b, out=out)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - start)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return 2 * size**3 / best
