"""MobileNetV4-Conv-M of timm (pip install timm) by the recipe of R-50.

Other models of timm go the same way; see their pixel_mean and pixel_std in docs/training.md.
"""

from detectron2.config import LazyCall as L
from tood_d2.modeling import TimmBackbone

from .tood_R_50_FPN_1x import dataloader, dataset, lr_multiplier, model, optimizer, train

model.backbone.bottom_up = L(TimmBackbone)(
    name="mobilenetv4_conv_medium.e500_r256_in1k", norm="FrozenStatsBN", freeze_at=2
)
train.init_checkpoint = "timm://mobilenetv4_conv_medium.e500_r256_in1k"
