"""FCOS with the task-aligned head and the small recipe."""

from detectron2.config import LazyCall as L
from detectron2.modeling.box_regression import Box2BoxTransformLinear

from ..common.models.delta_head import use_task_aligned_head
from .fcos_R_18_FPN_small import dataloader, dataset, lr_multiplier, model, optimizer, train

use_task_aligned_head(
    model, conv_dim=64, box2box_transform=L(Box2BoxTransformLinear)(), centerness=True
)
