from .assigners import ATSSAssigner, TaskAlignedAssigner
from .backbone import build_fpn, build_resnet, build_tood_resnet_fpn_backbone
from .heads import ParallelHead, TaskAlignedHead
from .meta_arch import TOOD

__all__ = [
    "ATSSAssigner",
    "ParallelHead",
    "TOOD",
    "TaskAlignedAssigner",
    "TaskAlignedHead",
    "build_fpn",
    "build_resnet",
    "build_tood_resnet_fpn_backbone",
]
