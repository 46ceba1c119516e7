"""FoveaBox with the task-aligned head and the small recipe."""

from detectron2.config import LazyCall as L
from tood_d2.modeling import LogDistanceTransform

from ..common.models.delta_head import use_task_aligned_head
from .foveabox_R_18_FPN_small import dataloader, dataset, lr_multiplier, model, optimizer, train

use_task_aligned_head(model, conv_dim=64, box2box_transform=L(LogDistanceTransform)())
