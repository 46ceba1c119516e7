"""Plain ViT-B, trained as in this config of Detectron2:

projects/ViTDet/configs/COCO/mask_rcnn_vitdet_b_100ep.py
"""

from fvcore.common.param_scheduler import MultiStepParamScheduler

from detectron2.config import LazyCall as L
from detectron2.solver import WarmupParamScheduler
from tood_d2.modeling import LayerDecay, SimplePyramid, ViTBackbone

from .common.data.large_scale_jitter import dataloader, dataset
from .common.optim import AdamW as optimizer
from .tood_R_50_FPN_1x import model, train

model.backbone = L(SimplePyramid)(
    net=L(ViTBackbone)(
        img_size=1024,
        embed_dim=768,
        depth=12,
        num_heads=12,
        window_size=14,
        global_blocks=[2, 5, 8, 11],
        drop_path_rate=0.1,
        checkpoint=False,
    ),
    out_channels=256,
    norm="LN",
    square_pad="${.net.img_size}",
)

dataloader.train.total_batch_size = train.reference_batch_size = 64

optimizer.weight_decay = 0.1
optimizer.params.lr_factor_func = L(LayerDecay)(rate=0.7, depth="${model.backbone.net.depth}")
optimizer.params.overrides = {"pos_embed": {"weight_decay": 0.0}}

# 100 epochs of 118000 images.
train.max_iter = 184375
lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(
        values=[1.0, 0.1, 0.01], milestones=[163889, 177546], num_updates=train.max_iter
    ),
    warmup_length=250 / train.max_iter,
    warmup_factor=0.001,
    warmup_method="linear",
)
# 4 epochs, as in the other configs.
model.initial_phase_iters = 4 * train.max_iter // 100
train.eval_period = train.checkpointer.period = train.max_iter // 100
train.amp.enabled = True
train.init_checkpoint = (
    "detectron2://ImageNetPretrained/MAE/mae_pretrain_vit_base.pth?matching_heuristics=True"
)
