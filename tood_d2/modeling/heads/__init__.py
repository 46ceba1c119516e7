from .task_aligned_head import TaskAlignedHead, TaskDecomposition

__all__ = ["TaskAlignedHead", "TaskDecomposition"]
