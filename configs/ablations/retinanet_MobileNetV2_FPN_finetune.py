"""Detectron2's RetinaNet with the recipe for own data, to compare with."""

from ..tood_MobileNetV2_FPN_finetune import dataloader, dataset, lr_multiplier, optimizer, train
from ..tood_MobileNetV2_FPN_finetune import model as _tood
from .retinanet_R_18_FPN_small import model

model.backbone = _tood.backbone
