from .dense_head import DenseHead
from .fcos_head import TaskAlignedFCOSHead
from .parallel_head import ParallelHead
from .task_aligned_head import TaskAlignedHead, TaskDecomposition

__all__ = [
    "DenseHead",
    "ParallelHead",
    "TaskAlignedFCOSHead",
    "TaskAlignedHead",
    "TaskDecomposition",
]
