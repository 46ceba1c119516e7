"""Swin-T, trained as in this config of MMDetection:

configs/swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py
"""

from detectron2.config import LazyCall as L
from tood_d2.modeling import SwinBackbone

from .common.optim import AdamW as optimizer
from .common.schedule import multi_step
from .tood_R_50_FPN_1x import dataloader, dataset, model, train

model.backbone.bottom_up = L(SwinBackbone)(
    embed_dim=96,
    depths=[2, 2, 6, 2],
    num_heads=[3, 6, 12, 24],
    window_size=7,
    drop_path_rate=0.2,
    freeze_at=0,
    checkpoint=False,
)
optimizer.params.overrides = {"relative_position_bias_table": {"weight_decay": 0.0}}
lr_multiplier = multi_step(12, (8, 11), warmup_iters=1000)
train.init_checkpoint = (
    "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/"
    "swin_tiny_patch4_window7_224.pth"
)
