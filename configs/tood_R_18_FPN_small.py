"""A small model that learns a small data set from random initialisation on a CPU in minutes.

    train_net.py --config-file configs/tood_R_18_FPN_small.py \
        dataset.train_json=train.json dataset.train_images=train/ \
        dataset.test_json=val.json dataset.test_images=val/
"""

import torch
from fvcore.common.param_scheduler import CompositeParamScheduler, CosineParamScheduler

from detectron2.config import LazyCall as L

from .tood_R_50_FPN_1x import dataloader, dataset, model, optimizer, train

model.backbone.bottom_up.depth = 18
model.backbone.bottom_up.norm = "BN"
model.backbone.bottom_up.freeze_at = 0
model.backbone.out_channels = 64
model.head.conv_dim = 64
model.initial_phase_iters = 150

dataloader.train.total_batch_size = 4
dataloader.train.num_workers = 2
dataloader.train.mapper.augmentations[0].update(short_edge_length=[240], max_size=400)
dataloader.test.mapper.augmentations[0].update(short_edge_length=240, max_size=400)
dataloader.tta.scales = [11 / 12, 1.0, 13 / 12]

optimizer._target_ = torch.optim.AdamW
optimizer.lr = 1e-3
optimizer.weight_decay = 0.01
optimizer.fused = True
del optimizer.momentum

# One cycle: up from 1/25 in the first 30%, down to almost zero.
lr_multiplier = L(CompositeParamScheduler)(
    schedulers=[
        L(CosineParamScheduler)(start_value=0.04, end_value=1.0),
        L(CosineParamScheduler)(start_value=1.0, end_value=4e-6),
    ],
    lengths=[0.3, 0.7],
    interval_scaling=["rescaled", "rescaled"],
)

train.init_checkpoint = ""
train.channels_last = True
train.max_iter = 450
train.reference_batch_size = 4
train.checkpointer.period = 450
train.eval_period = 450
train.output_dir = "./output/small"
