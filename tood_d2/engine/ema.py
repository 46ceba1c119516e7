"""Exponential moving average (EMA) of the weights."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from detectron2.engine import HookBase

from ..checkpoint.training_checkpointer import WeightsCheckpointer


def build_ema(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of a model whose parameters and buffers follow the model's.

    Each ``update_parameters`` keeps ``decay`` of the average, in the first steps less:
    (1 + n) / (10 + n) after n updates. The first update copies the model.

    Args:
        model: not wrapped for several processes.
        decay: in [0, 1).
    """

    def average(averages: list[Tensor], currents: list[Tensor], num_averaged: Tensor) -> None:
        n = int(num_averaged)
        kept = min(decay, (1 + n) / (10 + n))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, currents, 1 - kept)
        else:  # counters
            torch._foreach_copy_(averages, currents)

    ema = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
    return ema.eval().requires_grad_(False)


@dataclass(eq=False)
class EMAHook(HookBase):
    """Updates the average after each step, and saves it when training is complete."""

    FILE = "model_final_ema"

    ema: AveragedModel
    """See :func:`build_ema`."""
    model: nn.Module
    """That it follows."""
    checkpointer: WeightsCheckpointer
    """Of the average's weights."""

    def after_step(self):
        self.ema.update_parameters(self.model)

    def after_train(self):
        if self.trainer.iter >= self.trainer.max_iter and self.ema.n_averaged > 0:
            self.checkpointer.save(self.FILE)
