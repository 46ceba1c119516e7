"""ResNet-FPN as the official models have it."""

import torch
from torch import Tensor, nn

from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, BasicStem, ResNet
from detectron2.modeling.backbone.fpn import LastLevelP6P7


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


class LastLevelP6P7NoReLU(LastLevelP6P7):
    """P6 and P7 by two strided convolutions with no ReLU between."""

    def forward(self, x: Tensor) -> list[Tensor]:
        p6 = self.p6(x)
        return [p6, self.p7(p6)]


def build_resnet(
    *,
    depth: int,
    in_channels: int = 3,
    out_features: tuple[str, ...] = ("res3", "res4", "res5"),
    norm: str = "FrozenStatsBN",
    freeze_at: int = 2,
    stride_in_1x1: bool = False,
) -> ResNet:
    """A ResNet; by default in torchvision's layout.

    Args:
        depth: 18, 34, 50, 101 or 152.
        in_channels: of the image.
        out_features: names of the stages to return.
        norm: "FrozenStatsBN" (:class:`FrozenStatsBatchNorm2d`) or a name that
            ``detectron2.layers.get_norm`` knows, such as "FrozenBN", "BN", "SyncBN".
        freeze_at: 1 freezes the stem, 2 the stem and res2, 0 nothing.
        stride_in_1x1: where bottleneck blocks have their stride, False for the 3x3
            convolution as in torchvision's weights, True as in MSRA's.
    """
    if norm == "FrozenStatsBN":
        norm = FrozenStatsBatchNorm2d
    stem = BasicStem(in_channels=in_channels, out_channels=64, norm=norm)
    kwargs = {"stride_in_1x1": stride_in_1x1} if depth >= 50 else {}
    stages = ResNet.make_default_stages(depth, norm=norm, **kwargs)
    return ResNet(stem, stages, out_features=out_features, freeze_at=freeze_at)


def build_fpn(bottom_up: ResNet, out_channels: int = 256, norm: str = "") -> FPN:
    """P3 to P7 on a backbone; all of its output features are used.

    Args:
        bottom_up: backbone with features of strides 8, 16 and 32.
        out_channels: of every level.
        norm: of the FPN's convolutions, see ``detectron2.layers.get_norm``.
    """
    return FPN(
        bottom_up=bottom_up,
        in_features=list(bottom_up.output_shape()),
        out_channels=out_channels,
        norm=norm,
        top_block=LastLevelP6P7NoReLU(out_channels, out_channels, in_feature="p5"),
    )


@BACKBONE_REGISTRY.register()
def build_tood_resnet_fpn_backbone(cfg, input_shape: ShapeSpec) -> FPN:
    """:func:`build_resnet` and :func:`build_fpn` from a CfgNode."""
    bottom_up = build_resnet(
        depth=cfg.MODEL.RESNETS.DEPTH,
        in_channels=input_shape.channels,
        out_features=cfg.MODEL.RESNETS.OUT_FEATURES,
        norm=cfg.MODEL.RESNETS.NORM,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        stride_in_1x1=cfg.MODEL.RESNETS.STRIDE_IN_1X1,
    )
    return build_fpn(bottom_up, cfg.MODEL.FPN.OUT_CHANNELS, cfg.MODEL.FPN.NORM)
