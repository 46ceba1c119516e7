"""parallel_TAL_R_50_FPN_1x with the recipe for own data."""

from ..common.models.parallel_head import use_parallel_head
from ..tood_MobileNetV2_FPN_finetune import (
    dataloader,
    dataset,
    lr_multiplier,
    model,
    optimizer,
    train,
)

use_parallel_head(model)
