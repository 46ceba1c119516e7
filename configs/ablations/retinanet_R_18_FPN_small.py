"""Detectron2's RetinaNet with the small recipe, to compare with."""

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.meta_arch.retinanet import RetinaNet, RetinaNetHead

from ..tood_R_18_FPN_small import dataloader, dataset, lr_multiplier, model, optimizer, train

model = L(RetinaNet)(
    backbone=model.backbone,
    head=L(RetinaNetHead)(
        input_shape=[ShapeSpec(channels=64)] * 5,
        num_classes="${..num_classes}",
        num_anchors=9,
        conv_dims=[64] * 4,
        norm="GN",
    ),
    head_in_features=model.head_in_features,
    anchor_generator=L(DefaultAnchorGenerator)(
        sizes=[[size * 2 ** (i / 3) for i in range(3)] for size in (32, 64, 128, 256, 512)],
        aspect_ratios=[0.5, 1.0, 2.0],
        strides=[8, 16, 32, 64, 128],
        offset=0.0,
    ),
    box2box_transform=L(Box2BoxTransform)(weights=[1.0, 1.0, 1.0, 1.0]),
    anchor_matcher=L(Matcher)(
        thresholds=[0.4, 0.5], labels=[0, -1, 1], allow_low_quality_matches=True
    ),
    num_classes=80,
    pixel_mean=model.pixel_mean,
    pixel_std=model.pixel_std,
    input_format="RGB",
)
