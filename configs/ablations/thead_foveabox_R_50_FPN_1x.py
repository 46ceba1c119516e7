"""FoveaBox with the task-aligned head (Table 1 of the paper)."""

from detectron2.config import LazyCall as L
from tood_d2.modeling import LogDistanceTransform

from ..common.models.delta_head import use_task_aligned_head
from .foveabox_R_50_FPN_1x import dataloader, dataset, lr_multiplier, model, optimizer, train

use_task_aligned_head(model, conv_dim=256, box2box_transform=L(LogDistanceTransform)())
