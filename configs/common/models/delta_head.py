"""The task-aligned head in other detectors, in place of the parallel one."""

from detectron2.config import LazyCall as L
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from tood_d2.modeling import TaskAlignedDeltaHead


def use_task_aligned_head(model, conv_dim, box2box_transform, **settings):
    strides = [8, 16, 32, 64, 128]
    model.head = L(TaskAlignedDeltaHead)(
        in_channels=conv_dim,
        num_classes="${..num_classes}",
        # The anchors that FCOS makes for itself.
        anchor_generator=L(DefaultAnchorGenerator)(
            sizes=[[stride] for stride in strides],
            aspect_ratios=[1.0],
            strides=strides,
            offset=0.5,
        ),
        box2box_transform=box2box_transform,
        conv_dim=conv_dim,
        **settings,
    )
