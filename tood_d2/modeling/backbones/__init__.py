from ...checkpoint import catalog, timm_weights  # noqa: F401  make tood:// and so on known
from .fpn import build_fpn
from .mvit import MViTBackbone
from .regnet import RegNetBackbone
from .resnet import build_resnet, build_tood_resnet_fpn_backbone
from .swin import SwinBackbone
from .timm_backbone import TimmBackbone
from .torchvision_backbone import TorchvisionBackbone
from .vit import SimplePyramid, ViTBackbone

__all__ = [
    "MViTBackbone",
    "RegNetBackbone",
    "SimplePyramid",
    "SwinBackbone",
    "TimmBackbone",
    "TorchvisionBackbone",
    "ViTBackbone",
    "build_fpn",
    "build_resnet",
    "build_tood_resnet_fpn_backbone",
]
