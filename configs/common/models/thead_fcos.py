"""The task-aligned head in Detectron2's FCOS, in place of the parallel one."""

from detectron2.config import LazyCall as L
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from tood_d2.modeling import TaskAlignedFCOSHead


def use_task_aligned_head(model, conv_dim):
    strides = [8, 16, 32, 64, 128]
    model.head = L(TaskAlignedFCOSHead)(
        in_channels=conv_dim,
        num_classes="${..num_classes}",
        # The anchors that FCOS makes for itself.
        anchor_generator=L(DefaultAnchorGenerator)(
            sizes=[[stride] for stride in strides],
            aspect_ratios=[1.0],
            strides=strides,
            offset=0.5,
        ),
        conv_dim=conv_dim,
    )
