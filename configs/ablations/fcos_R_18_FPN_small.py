"""Detectron2's FCOS with the small recipe, to compare with."""

from detectron2.layers import ShapeSpec

from ..tood_R_18_FPN_small import dataloader, dataset, lr_multiplier, optimizer, train
from ..tood_R_18_FPN_small import model as _tood
from .fcos_R_50_FPN_1x import model

dataloader.train.mapper.image_format = dataloader.test.mapper.image_format = "RGB"
model.backbone = _tood.backbone
model.head.input_shape = [ShapeSpec(channels=64)] * 5
model.head.conv_dims = [64] * 4
model.test_score_thresh = 0.05
