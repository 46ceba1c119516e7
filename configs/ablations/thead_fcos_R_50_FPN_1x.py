"""FCOS with the task-aligned head (Table 1 of the paper)."""

from ..common.models.thead_fcos import use_task_aligned_head
from .fcos_R_50_FPN_1x import dataloader, dataset, lr_multiplier, model, optimizer, train

use_task_aligned_head(model, conv_dim=256)
