"""FoveaBox with TOOD's schedule and input, to compare with."""

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling.meta_arch.retinanet import RetinaNetHead
from tood_d2.modeling import FoveaBox

from ..tood_R_50_FPN_1x import dataloader, dataset, lr_multiplier, model, optimizer, train

dataloader.train.mapper.image_format = dataloader.test.mapper.image_format = "RGB"
model = L(FoveaBox)(
    backbone=model.backbone,
    head=L(RetinaNetHead)(
        input_shape=[ShapeSpec(channels=256)] * 5,
        num_classes="${..num_classes}",
        num_anchors=1,
        conv_dims=[256] * 4,
        norm="GN",
    ),
    num_classes=80,
    pixel_mean=model.pixel_mean,
    pixel_std=model.pixel_std,
)
