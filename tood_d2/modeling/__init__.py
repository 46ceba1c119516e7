from .assigners import ATSSAssigner, TaskAlignedAssigner
from .backbone import build_fpn, build_resnet, build_tood_resnet_fpn_backbone
from .heads import ParallelHead, TaskAlignedFCOSHead, TaskAlignedHead
from .meta_arch import TOOD

__all__ = [
    "ATSSAssigner",
    "ParallelHead",
    "TOOD",
    "TaskAlignedAssigner",
    "TaskAlignedFCOSHead",
    "TaskAlignedHead",
    "build_fpn",
    "build_resnet",
    "build_tood_resnet_fpn_backbone",
]
