"""The ATSS detector (arXiv 1912.02424): parallel head, centre-ness, ATSS assignment."""

from ..common.models.parallel_head import use_parallel_head
from ..tood_R_50_FPN_1x import dataloader, dataset, lr_multiplier, model, optimizer, train

use_parallel_head(model, centerness=True)
model.initial_phase_iters = -1
