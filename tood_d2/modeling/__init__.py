from .assigners import ATSSAssigner, TaskAlignedAssigner
from .backbones.resnet import build_fpn, build_resnet, build_tood_resnet_fpn_backbone
from .backbones.torchvision_backbone import TorchvisionBackbone
from .foveabox import FoveaBox, LogDistanceTransform
from .heads import HEADS, ParallelHead, TaskAlignedDeltaHead, TaskAlignedHead
from .meta_arch import TOOD

__all__ = [
    "ATSSAssigner",
    "FoveaBox",
    "HEADS",
    "LogDistanceTransform",
    "ParallelHead",
    "TOOD",
    "TaskAlignedAssigner",
    "TaskAlignedDeltaHead",
    "TaskAlignedHead",
    "TorchvisionBackbone",
    "build_fpn",
    "build_resnet",
    "build_tood_resnet_fpn_backbone",
]
