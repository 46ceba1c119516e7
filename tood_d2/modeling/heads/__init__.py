from .delta_head import TaskAlignedDeltaHead
from .dense_head import HEADS, DenseHead
from .parallel_head import ParallelHead
from .task_aligned_head import TaskAlignedHead

__all__ = [
    "HEADS",
    "DenseHead",
    "ParallelHead",
    "TaskAlignedDeltaHead",
    "TaskAlignedHead",
]
