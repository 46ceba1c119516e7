"""Deformable convolution on torchvision's operator."""

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from detectron2.layers import Conv2d


class ModulatedDeformConv2d(Conv2d):
    """A 3x3 DCNv2 (arXiv 1811.11168) that predicts its own offsets and modulation.

    Takes the place of Detectron2's ``Conv2d``, norm and activation included. Unlike
    Detectron2's ``ModulatedDeformConv`` it needs no compiled extension and runs on CPUs.
    """

    def __init__(self, *args, deform_groups: int = 1, **kwargs):
        """
        Args:
            deform_groups: groups of input channels with offsets of their own.
            args, kwargs: see ``detectron2.layers.Conv2d``.
        """
        super().__init__(*args, **kwargs)
        # Per group and kernel position: first the (dy, dx) pairs of all, then the masks.
        self.conv_offset = nn.Conv2d(
            self.in_channels,
            3 * deform_groups * self.kernel_size[0] * self.kernel_size[1],
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
        )
        nn.init.zeros_(self.conv_offset.weight)
        nn.init.zeros_(self.conv_offset.bias)

    def forward(self, x: Tensor) -> Tensor:
        prediction = self.conv_offset(x)
        num_masks = prediction.shape[1] // 3
        offset, mask = prediction.split((2 * num_masks, num_masks), dim=1)
        # The operator takes one type only, where autocast leaves the inputs in a lower precision
        # than the weights, and it takes no bfloat16.
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        x = deform_conv2d(
            x.to(dtype),
            offset.to(dtype),
            self.weight.to(dtype),
            None if self.bias is None else self.bias.to(dtype),
            self.stride,
            self.padding,
            self.dilation,
            torch.sigmoid(mask).to(dtype),
        ).to(self.weight.dtype)
        if self.norm is not None:
            x = self.norm(x)
        if self.activation is not None:
            x = self.activation(x)
        return x
