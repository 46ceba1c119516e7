from .atss import ATSSAssigner
from .guarantee import MIN_ALIGNMENT
from .matching import BACKGROUND
from .task_aligned import TaskAlignedAssigner, normalize_alignment

__all__ = [
    "BACKGROUND",
    "MIN_ALIGNMENT",
    "ATSSAssigner",
    "TaskAlignedAssigner",
    "normalize_alignment",
]
