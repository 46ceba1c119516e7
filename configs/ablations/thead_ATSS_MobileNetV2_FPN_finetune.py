"""thead_ATSS_R_50_FPN_1x with the recipe for own data."""

from ..tood_MobileNetV2_FPN_finetune import (
    dataloader,
    dataset,
    lr_multiplier,
    model,
    optimizer,
    train,
)

model.initial_phase_iters = -1
