"""The official optimiser. Norms decay, too; by default Detectron2 exempts them."""

import torch

from detectron2.config import LazyCall as L
from detectron2.solver.build import get_default_optimizer_params

SGD = L(torch.optim.SGD)(
    # params.model is set to the model before the optimiser is instantiated.
    params=L(get_default_optimizer_params)(
        base_lr="${..lr}", weight_decay_norm="${..weight_decay}"
    ),
    lr=0.01,
    momentum=0.9,
    weight_decay=1e-4,
)
