"""Detectron2's FCOS with the small recipe, to compare with."""

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling.meta_arch.fcos import FCOS, FCOSHead

from ..tood_R_18_FPN_small import dataloader, dataset, lr_multiplier, model, optimizer, train

dataloader.train.mapper.image_format = dataloader.test.mapper.image_format = "RGB"
model = L(FCOS)(
    backbone=model.backbone,
    head=L(FCOSHead)(
        input_shape=[ShapeSpec(channels=64)] * 5,
        num_classes="${..num_classes}",
        conv_dims=[64] * 4,
        norm="GN",
    ),
    num_classes=80,
    test_score_thresh=0.05,
    test_nms_thresh=0.6,
    pixel_mean=model.pixel_mean,
    pixel_std=model.pixel_std,
)
