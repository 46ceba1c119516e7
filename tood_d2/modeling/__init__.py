"""The detector: backbones, heads, assigners, losses, post-processing."""

from .assigners import ATSSAssigner, TaskAlignedAssigner
from .backbones.fpn import build_fpn
from .backbones.learning_rates import BackboneFactor, LayerDecay
from .backbones.mvit import MViTBackbone
from .backbones.regnet import RegNetBackbone
from .backbones.resnet import build_resnet, build_tood_resnet_fpn_backbone
from .backbones.swin import SwinBackbone
from .backbones.timm_backbone import TimmBackbone
from .backbones.torchvision_backbone import TorchvisionBackbone
from .backbones.vit import SimplePyramid, ViTBackbone
from .foveabox import FoveaBox, LogDistanceTransform
from .heads import HEADS, ParallelHead, TaskAlignedDeltaHead, TaskAlignedHead
from .meta_arch import TOOD

__all__ = [
    "ATSSAssigner",
    "BackboneFactor",
    "FoveaBox",
    "HEADS",
    "LayerDecay",
    "LogDistanceTransform",
    "MViTBackbone",
    "ParallelHead",
    "RegNetBackbone",
    "SimplePyramid",
    "SwinBackbone",
    "TOOD",
    "TaskAlignedAssigner",
    "TaskAlignedDeltaHead",
    "TaskAlignedHead",
    "TimmBackbone",
    "TorchvisionBackbone",
    "ViTBackbone",
    "build_fpn",
    "build_resnet",
    "build_tood_resnet_fpn_backbone",
]
