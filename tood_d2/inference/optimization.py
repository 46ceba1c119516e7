"""The same detector, faster, for those who only want its detections."""

import copy
import logging
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from detectron2.layers import Conv2d, CycleBatchNormList, FrozenBatchNorm2d
from detectron2.modeling.meta_arch.dense_detector import DenseDetector

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def find_dtype(name: str, device: torch.device) -> torch.dtype:
    """A type by its name; "auto" is bfloat16 where the device has instructions for it.

    Warns of bfloat16 on a CPU that has none, as it is slower than float32 there.
    """
    # Which PyTorch tells from 2.11 on.
    cpu = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    is_fast = device.type != "cpu" or bool(cpu.get("avx512_bf16") or cpu.get("amx_bf16"))
    if name == "bfloat16" and cpu and not is_fast:
        logger.warning("This CPU has no instructions for bfloat16: float32 is faster.")
    return DTYPES[name] if name != "auto" else DTYPES["bfloat16" if is_fast else "float32"]


def optimize_for_inference(
    model: DenseDetector, dtype: torch.dtype = torch.float32, compile: bool = False
) -> DenseDetector:
    """A copy of a detector that gives the same detections in less time; it cannot be trained.

    Batch norms go into the kernels of the convolutions before them, and features lie in memory
    with their channels last. Images of any size and number may follow each other.

    Args:
        model: TOOD or another of Detectron2's dense detectors.
        dtype: of backbone and head. With another one than float32 detections differ slightly;
            decoding, scores and post-processing are in float32 in any case.
        compile: whether to compile backbone and head, once for all sizes. The first two or three
            images take minutes. CPUs need a C++ compiler for it.

    Raises:
        TypeError: if the model is no dense detector.
        ValueError: on a ``dtype`` that is not for this.
    """
    if not isinstance(model, DenseDetector):
        raise TypeError(f"the model should be a DenseDetector, not a {type(model).__name__}")
    if dtype not in DTYPES.values():
        raise ValueError(f"dtype should be torch.{' or torch.'.join(DTYPES)}, not {dtype}")
    model = fold_norms(model)
    model.backbone.to(dtype)  # transformers have linear layers, norms and positions, too
    for module in model.modules():
        # Not all there is: what anchors and boxes are made of stays in float32.
        if isinstance(module, (nn.Conv2d, nn.GroupNorm, _BatchNorm, CycleBatchNormList)):
            module.to(dtype=dtype, memory_format=torch.channels_last)
    model.backbone.register_forward_pre_hook(partial(_convert_images, dtype))
    hook = _to_float32
    if compile:
        # Nothing to be gained by compiling it, and it would be compiled again and again.
        hook = torch.compiler.disable(hook)
        for module in (model.backbone, model.head):
            module.compile(dynamic=True)
    model.head.register_forward_hook(hook)
    return model


def fold_norms(model: nn.Module) -> nn.Module:
    """A copy of a model for inference, with batch norms in the kernels before them."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    for module in model.modules():
        norm = getattr(module, "norm", None)
        if isinstance(module, Conv2d) and isinstance(norm, (FrozenBatchNorm2d, _BatchNorm)):
            values = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            module.weight, module.bias = fuse_conv_bn_weights(module.weight, module.bias, *values)
            module.norm = None
    return model


def _convert_images(dtype: torch.dtype, module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    return (args[0].to(dtype=dtype, memory_format=torch.channels_last),)


def _to_float32(module: nn.Module, args: tuple, predictions: tuple[list[Tensor], ...]):
    """Converts the head's predictions, as Detectron2's heads leave them in their own type."""
    return tuple([level.float() for level in levels] for levels in predictions)
