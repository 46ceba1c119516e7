"""The task-aligned head with ATSS assignment (Table 1 and 6 of the paper)."""

from ..tood_R_50_FPN_1x import dataloader, dataset, lr_multiplier, model, optimizer, train

model.initial_phase_iters = -1
