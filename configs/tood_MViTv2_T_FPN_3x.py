"""MViTv2-T, trained as in this config of Detectron2:

projects/MViTv2/configs/mask_rcnn_mvitv2_t_3x.py
"""

from fvcore.common.param_scheduler import MultiStepParamScheduler

from detectron2.config import LazyCall as L
from detectron2.solver import WarmupParamScheduler
from tood_d2.modeling import MViTBackbone

from .common.data.multi_scale_crop import augmentations
from .common.optim import AdamW as optimizer
from .tood_R_50_FPN_1x import dataloader, dataset, model, train

model.backbone.bottom_up = L(MViTBackbone)(
    embed_dim=96,
    depth=10,
    num_heads=1,
    last_block_indexes=[0, 2, 7, 9],
    drop_path_rate=0.2,
    checkpoint=False,
)

dataloader.train.mapper.augmentations = augmentations
dataloader.train.total_batch_size = train.reference_batch_size = 64

optimizer.lr = 1.6e-4
optimizer.weight_decay = 0.1
optimizer.params.overrides = {name: {"weight_decay": 0.0} for name in ("rel_pos_h", "rel_pos_w")}

# 36 epochs of 118000 images.
train.max_iter = 67500
lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(
        values=[1.0, 0.1, 0.01], milestones=[52500, 62500], num_updates=train.max_iter
    ),
    warmup_length=250 / train.max_iter,
    warmup_factor=0.001,
    warmup_method="linear",
)
# 4 epochs, as in the other configs.
model.initial_phase_iters = 4 * train.max_iter // 36
train.eval_period = train.checkpointer.period = train.max_iter // 36
train.amp.enabled = True
train.init_checkpoint = "detectron2://ImageNetPretrained/mvitv2/MViTv2_T_in1k.pyth"
