"""The parallel head with task alignment learning (Table 6 of the paper)."""

from ..common.models.parallel_head import use_parallel_head
from ..tood_R_50_FPN_1x import dataloader, dataset, lr_multiplier, model, optimizer, train

use_parallel_head(model)
