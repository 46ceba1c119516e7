"""Detectron2's FCOS with TOOD's schedule and input, to compare with."""

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling.meta_arch.fcos import FCOS, FCOSHead

from ..tood_R_50_FPN_1x import dataloader, dataset, lr_multiplier, model, optimizer, train

dataloader.train.mapper.image_format = dataloader.test.mapper.image_format = "RGB"
model = L(FCOS)(
    backbone=model.backbone,
    head=L(FCOSHead)(
        input_shape=[ShapeSpec(channels=256)] * 5,
        num_classes="${..num_classes}",
        conv_dims=[256] * 4,
        norm="GN",
    ),
    num_classes=80,
    # Scores are roots of products, see FCOS.forward_inference.
    test_score_thresh=0.2,
    test_nms_thresh=0.6,
    pixel_mean=model.pixel_mean,
    pixel_std=model.pixel_std,
)
