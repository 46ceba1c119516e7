"""FCOS with the task-aligned head (Table 1 of the paper)."""

from detectron2.config import LazyCall as L
from detectron2.modeling.box_regression import Box2BoxTransformLinear

from ..common.models.delta_head import use_task_aligned_head
from .fcos_R_50_FPN_1x import dataloader, dataset, lr_multiplier, model, optimizer, train

use_task_aligned_head(
    model, conv_dim=256, box2box_transform=L(Box2BoxTransformLinear)(), centerness=True
)
