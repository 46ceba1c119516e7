"""Optimisers: the official one, and that of transformers."""

import torch

from detectron2.config import LazyCall as L
from detectron2.solver.build import get_default_optimizer_params

# The official one. Norms decay, too; by default Detectron2 exempts them.
SGD = L(torch.optim.SGD)(
    # params.model is set to the model before the optimiser is instantiated.
    params=L(get_default_optimizer_params)(
        base_lr="${..lr}", weight_decay_norm="${..weight_decay}"
    ),
    lr=0.01,
    momentum=0.9,
    weight_decay=1e-4,
)

# That of Swin and of Detectron2's projects for transformers, which differ in lr, weight decay, and
# the names of parameters in params.overrides that do not decay either.
AdamW = L(torch.optim.AdamW)(
    params=L(get_default_optimizer_params)(base_lr="${..lr}", weight_decay_norm=0.0),
    lr=1e-4,
    betas=[0.9, 0.999],
    weight_decay=0.05,
)
