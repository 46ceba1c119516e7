"""Detectron2's FCOS with the recipe for own data, to compare with."""

from ..tood_MobileNetV2_FPN_finetune import dataloader, dataset, lr_multiplier, optimizer, train
from ..tood_MobileNetV2_FPN_finetune import model as _tood
from .fcos_R_18_FPN_small import model

dataloader.train.mapper.image_format = dataloader.test.mapper.image_format = "RGB"
model.backbone = _tood.backbone
