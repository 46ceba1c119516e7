"""FCOS with the task-aligned head and the small recipe."""

from ..common.models.thead_fcos import use_task_aligned_head
from .fcos_R_18_FPN_small import dataloader, dataset, lr_multiplier, model, optimizer, train

use_task_aligned_head(model, conv_dim=64)
