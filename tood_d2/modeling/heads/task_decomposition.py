"""Task-specific features from those of all interactive layers (Sec. 3.1 of the paper).

N images, L interactive layers of C channels, a level of H x W locations.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectron2.layers import Conv2d, get_norm


class TaskDecomposition(nn.Module):
    """Layer attention and reduction for one task (Eq. 2 and 3)."""

    def __init__(self, num_convs: int, channels: int, norm: str):
        """
        Args:
            num_convs: L.
            channels: C.
            norm: normalisation after the reduction, see ``detectron2.layers.get_norm``.
        """
        super().__init__()
        inter_channels = num_convs * channels
        self.layer_attention = nn.Sequential(
            nn.Conv2d(inter_channels, channels // 8, 1),
            nn.ReLU(),
            nn.Conv2d(channels // 8, num_convs, 1),
            nn.Sigmoid(),
        )
        self.reduction = Conv2d(
            inter_channels, channels, 1, bias=False, norm=get_norm(norm, channels)
        )

    def kernel(self, pooled: Tensor) -> Tensor:
        """The reduction's 1x1 kernel, times the attention: that is constant over the map.

        Args:
            pooled: (N, L * C, 1, 1), averages of the layers over the map.

        Returns:
            (N, C, L * C).
        """
        weights = self.layer_attention(pooled).transpose(1, 2)  # (N, 1, L, 1)
        channels = self.reduction.out_channels
        return (self.reduction.weight.view(channels, -1, channels) * weights).flatten(2)

    @property
    def bias(self) -> Tensor:
        """(C,) of the reduction, which has one if a norm has been folded into it, else 0."""
        reduction = self.reduction
        if reduction.bias is not None:
            return reduction.bias
        return reduction.weight.new_zeros(reduction.out_channels)

    def activate(self, reduced: Tensor) -> Tensor:
        """Norm and ReLU of the reduction's output (N, C, H, W)."""
        if self.reduction.norm is not None:
            reduced = self.reduction.norm(reduced)
        return relu(reduced)


def relu(x: Tensor) -> Tensor:
    """ReLU, in place if there are no gradients."""
    return F.relu(x, inplace=not torch.is_grad_enabled())


def pool_layers(layers: list[Tensor]) -> Tensor:
    """(N, L * C, 1, 1), averages of L layers (N, C, H, W) over the map."""
    return torch.cat([layer.mean(dim=(2, 3), keepdim=True) for layer in layers], dim=1)


def mix_layers(
    layers: list[Tensor], kernel: Tensor, bias: Tensor, sizes: list[int]
) -> tuple[Tensor, ...]:
    """A 1x1 convolution of the concatenated layers with a kernel for each image.

    In training the layers are not concatenated, as the copy would be kept for the backward pass.

    Args:
        layers: L maps (N, C, H, W).
        kernel: (N, O, L * C).
        bias: (O,).
        sizes: of the parts of the output, in channels; their sum is O.

    Returns:
        The parts (N, size, H, W), in memory as the layers are.
    """
    if layers[0].is_cpu and not torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return _mix_in_bands(layers, kernel[..., None, None], bias, sizes)
    channels_last = not layers[0].is_contiguous()

    def add_product(mixed: Tensor, layers: Tensor, kernel: Tensor) -> Tensor:
        factors = kernel, layers.flatten(2)
        if channels_last:
            factors = factors[1].transpose(1, 2), kernel.transpose(1, 2)
        return torch.baddbmm(mixed, *factors)

    mixed = bias if channels_last else bias[:, None]
    if torch.is_grad_enabled():
        for layer, layer_kernel in zip(layers, kernel.chunk(len(layers), dim=2), strict=True):
            mixed = add_product(mixed, layer, layer_kernel)
    else:
        mixed = add_product(mixed, torch.cat(layers, dim=1), kernel)
    if channels_last:
        mixed = mixed.transpose(1, 2)
    return mixed.unflatten(2, layers[0].shape[2:]).split(sizes, dim=1)


BAND = 2**21
"""Numbers of concatenated layers that a processor's cache holds."""


def _mix_in_bands(
    layers: list[Tensor], kernel: Tensor, bias: Tensor, sizes: list[int]
) -> tuple[Tensor, ...]:
    """:func:`mix_layers` by convolutions of some rows of one image after the other.

    Convolutions take half as long as products of matrices, on processors that PyTorch's library for
    those is not made for, and what is concatenated for one of them stays in the cache.
    """
    num_rows = max(1, BAND // (kernel.shape[2] * layers[0].shape[3]))
    images = []
    for image, weight in zip(zip(*(x.split(1) for x in layers), strict=True), kernel, strict=True):
        bands = zip(*(x.split(num_rows, dim=2) for x in image), strict=True)
        mixed = [F.conv2d(torch.cat(band, dim=1), weight, bias) for band in bands]
        parts = zip(*(x.split(sizes, dim=1) for x in mixed), strict=True)
        images.append([torch.cat(part, dim=2) for part in parts])
    if len(images) == 1:
        return tuple(images[0])
    return tuple(torch.cat(part) for part in zip(*images, strict=True))
