"""ResNet as the official models have it."""

from collections.abc import Sequence

import torch
from fvcore.nn import weight_init
from torch import Tensor, nn

from detectron2.layers import Conv2d, FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, BasicStem, BottleneckBlock, ResNet
from detectron2.modeling.backbone.resnet import BasicBlock

from ..deform_conv import ModulatedDeformConv2d
from .fpn import build_fpn_from_config

BASIC_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""Blocks per stage of the ResNets that are made of basic blocks, by depth."""

BOTTLENECK_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks per stage of the ResNets that are made of bottleneck blocks, by depth."""


class FrozenStatsBatchNorm2d(FrozenBatchNorm2d):
    """Batch norm with fixed statistics and a trained affine part.

    The official models train so (``norm_eval=True, requires_grad=True``), where
    Detectron2's ``FrozenBN`` fixes the affine part, too.
    """

    def __init__(self, num_features: int, eps: float = 1e-5):
        super().__init__(num_features, eps)
        del self.weight, self.bias
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def __repr__(self):
        return f"{type(self).__name__}(num_features={self.num_features}, eps={self.eps})"


class FoldedNormConv2d(Conv2d):
    """A convolution whose kernel takes in the batch norm of fixed statistics that follows it.

    Values and gradients are those of the two after each other; what the norm would compute and
    keep for the backward pass is saved. Names of parameters and buffers are those of ``Conv2d``.
    """

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        if norm is None:
            return super().forward(x)
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        bias = norm.bias - norm.running_mean * scale
        if self.bias is not None:
            bias = bias + self.bias * scale
        x = self._conv_forward(x, self.weight * scale[:, None, None, None], bias)
        return x if self.activation is None else self.activation(x)


def fold_fixed_norms(module: nn.Module) -> None:
    """Makes each convolution with a batch norm of fixed statistics a :class:`FoldedNormConv2d`."""
    for conv in module.modules():
        if type(conv) is Conv2d and isinstance(conv.norm, FrozenBatchNorm2d):
            conv.__class__ = FoldedNormConv2d  # same parameters, same constructor, other forward


class DeformBottleneckBlock(BottleneckBlock):
    """A bottleneck block with DCNv2 as its 3x3 convolution.

    Unlike Detectron2's block of this name it needs no compiled extension.
    """

    def __init__(self, *args, deform_groups: int = 1, **kwargs):
        """
        Args:
            deform_groups: groups of channels with offsets of their own.
            args, kwargs: see ``BottleneckBlock``.
        """
        super().__init__(*args, **kwargs)
        conv2 = self.conv2
        self.conv2 = ModulatedDeformConv2d(
            conv2.in_channels,
            conv2.out_channels,
            conv2.kernel_size,
            stride=conv2.stride,
            padding=conv2.padding,
            dilation=conv2.dilation,
            groups=conv2.groups,
            bias=False,
            norm=conv2.norm,
            deform_groups=deform_groups,
        )
        weight_init.c2_msra_fill(self.conv2)


def build_resnet(
    *,
    depth: int,
    in_channels: int = 3,
    out_features: Sequence[str] = ("res3", "res4", "res5"),
    norm: str = "FrozenStatsBN",
    freeze_at: int = 2,
    stride_in_1x1: bool = False,
    num_groups: int = 1,
    width_per_group: int = 64,
    width: int = 64,
    deform_on_per_stage: Sequence[bool] = (False, False, False, False),
    deform_groups: int = 1,
) -> ResNet:
    """A ResNet or ResNeXt; by default in torchvision's layout.

    Args:
        depth: 18, 34, 50, 101 or 152.
        in_channels: of the image.
        out_features: names of the stages to return.
        norm: "FrozenStatsBN" (:class:`FrozenStatsBatchNorm2d`) or a name that
            ``detectron2.layers.get_norm`` knows, such as "FrozenBN", "BN", "SyncBN".
        freeze_at: 1 freezes the stem, 2 the stem and res2, 0 nothing.
        stride_in_1x1: where bottleneck blocks have their stride, False for the 3x3
            convolution as in torchvision's weights, True as in MSRA's.
        num_groups: of the 3x3 convolutions, above 1 for ResNeXt.
        width_per_group: channels of each of these groups in res2.
        width: channels of the stem; those of all stages are in proportion.
        deform_on_per_stage: whether res2 to res5 have deformable 3x3 convolutions.
        deform_groups: groups of channels with offsets of their own.

    Raises:
        ValueError: for groups or deformable convolutions in a ResNet of basic blocks.
    """
    if norm == "FrozenStatsBN":
        norm = FrozenStatsBatchNorm2d
    is_basic = depth in BASIC_BLOCKS
    if is_basic and (num_groups != 1 or any(deform_on_per_stage)):
        raise ValueError(f"ResNet-{depth} has no bottleneck blocks to be grouped or deformable")
    stem = BasicStem(in_channels=in_channels, out_channels=width, norm=norm)
    stages, channels = [], width
    for i, num_blocks in enumerate(BASIC_BLOCKS[depth] if is_basic else BOTTLENECK_BLOCKS[depth]):
        if is_basic:
            block = {"block_class": BasicBlock}
        else:
            block = {
                "block_class": BottleneckBlock,
                "bottleneck_channels": num_groups * width_per_group * width // 64 << i,
                "num_groups": num_groups,
                "stride_in_1x1": stride_in_1x1,
            }
        if deform_on_per_stage[i]:
            block |= {"block_class": DeformBottleneckBlock, "deform_groups": deform_groups}
        inputs, channels = channels, (width if is_basic else 4 * width) << i
        stages.append(
            ResNet.make_stage(
                **block,
                num_blocks=num_blocks,
                stride_per_block=[1 if i == 0 else 2] + [1] * (num_blocks - 1),
                in_channels=inputs,
                out_channels=channels,
                norm=norm,
            )
        )
    resnet = ResNet(stem, stages, out_features=out_features, freeze_at=freeze_at)
    fold_fixed_norms(resnet)
    return resnet


@BACKBONE_REGISTRY.register()
def build_tood_resnet_fpn_backbone(cfg, input_shape: ShapeSpec) -> FPN:
    """:func:`build_resnet` and :func:`build_fpn` from a CfgNode.

    Raises:
        ValueError: if the config asks for deformable convolutions that are not modulated.
    """
    resnets = cfg.MODEL.RESNETS
    if any(resnets.DEFORM_ON_PER_STAGE) and not resnets.DEFORM_MODULATED:
        raise ValueError("MODEL.RESNETS.DEFORM_MODULATED must be True: only DCNv2 is available")
    bottom_up = build_resnet(
        depth=resnets.DEPTH,
        in_channels=input_shape.channels,
        out_features=resnets.OUT_FEATURES,
        norm=resnets.NORM,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        stride_in_1x1=resnets.STRIDE_IN_1X1,
        num_groups=resnets.NUM_GROUPS,
        width_per_group=resnets.WIDTH_PER_GROUP,
        deform_on_per_stage=resnets.DEFORM_ON_PER_STAGE,
        deform_groups=resnets.DEFORM_NUM_GROUPS,
    )
    return build_fpn_from_config(cfg, bottom_up)
