"""TOOD R-50 with the settings of the official code."""

from detectron2.config import LazyCall as L
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from tood_d2.modeling import (
    TOOD,
    ATSSAssigner,
    TaskAlignedAssigner,
    TaskAlignedHead,
    build_fpn,
    build_resnet,
)

from ..schedule import EPOCH

model = L(TOOD)(
    backbone=L(build_fpn)(
        # Detectron2's default, "FrozenBN", also fixes the affine part of batch norm.
        bottom_up=L(build_resnet)(depth=50, norm="FrozenStatsBN", freeze_at=2),
        out_channels=256,
    ),
    head=L(TaskAlignedHead)(
        in_channels="${..backbone.out_channels}",
        num_classes="${..num_classes}",
        anchor_generator=L(DefaultAnchorGenerator)(
            sizes=[[8 * stride] for stride in (8, 16, 32, 64, 128)],
            aspect_ratios=[[1.0]],
            strides=[8, 16, 32, 64, 128],
            offset=0.0,
        ),
        anchor_type="anchor_free",
        conv_dim=256,
        num_convs=6,
        num_deform_convs=0,
        norm="GN",
        prior_prob=0.01,
        align_cls=True,
        align_boxes=True,
        checkpoint=False,
    ),
    head_in_features=["p3", "p4", "p5", "p6", "p7"],
    num_classes=80,
    assigner=L(TaskAlignedAssigner)(
        topk=13, alpha=1.0, beta=6.0, conflict="iou", min_candidate_size=0.0, min_positives=0
    ),
    initial_assigner=L(ATSSAssigner)(topk=9, min_candidate_size=0.0, min_positives=0),
    initial_phase_iters=4 * EPOCH,
    focal_loss_alpha=0.25,
    focal_loss_gamma=2.0,
    box_loss_weight=2.0,
    test_score_thresh=0.05,
    test_topk_candidates=1000,
    test_nms_thresh=0.6,
    test_nms_type="hard",
    test_soft_nms_sigma=0.5,
    max_detections_per_image=100,
    # ImageNet in RGB, as torchvision's weights expect; Detectron2's own weights expect BGR.
    pixel_mean=[123.675, 116.28, 103.53],
    pixel_std=[58.395, 57.12, 57.375],
    input_format="RGB",
)
