from .atss import ATSSAssigner
from .matching import BACKGROUND
from .task_aligned import TaskAlignedAssigner, normalize_alignment

__all__ = ["BACKGROUND", "ATSSAssigner", "TaskAlignedAssigner", "normalize_alignment"]
