"""What Detectron2's ViT and MViT need around them."""

import contextlib
import importlib.util
import warnings
from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@contextlib.contextmanager
def layers_of_timm(backbone: str) -> Iterator[None]:
    """Lets Detectron2 import layers of timm under their old name, without a warning.

    Args:
        backbone: that needs them, to be named.

    Raises:
        ValueError: if timm is missing.
    """
    if importlib.util.find_spec("timm") is None:
        raise ValueError(f"{backbone} needs the package timm: pip install timm")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Importing from timm.models.layers")
        yield


def recompute_in_backward(blocks: nn.ModuleList) -> None:
    """Lets blocks, which take one tensor, be computed anew in the backward pass, to save memory."""
    for block in blocks:
        block.__class__ = _recomputed(type(block))  # same parameters, other forward


@cache
def _recomputed(block_class: type[nn.Module]) -> type[nn.Module]:
    class Recomputed(block_class):
        def forward(self, x: Tensor) -> Tensor:
            if not torch.is_grad_enabled():
                return super().forward(x)
            return checkpoint(super().forward, x, use_reentrant=False)

    return Recomputed
