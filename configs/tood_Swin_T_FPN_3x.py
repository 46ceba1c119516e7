"""Swin-T, trained as in this config of MMDetection:

configs/swin/mask-rcnn_swin-t-p4-w7_fpn_ms-crop-3x_coco.py
"""

from .common.data.multi_scale_crop import augmentations
from .common.schedule import EPOCH, multi_step
from .tood_Swin_T_FPN_1x import dataloader, dataset, model, optimizer, train

dataloader.train.mapper.augmentations = augmentations
lr_multiplier = multi_step(36, (27, 33), warmup_iters=1000)
train.max_iter = 36 * EPOCH
