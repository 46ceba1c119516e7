"""Hooks that training has besides Detectron2's, for both kinds of config."""

import logging

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from detectron2.engine import HookBase

from ..modeling.meta_arch import ALWAYS, TOOD

logger = logging.getLogger(__name__)


def build_hooks(model: nn.Module) -> list[HookBase]:
    """The hooks for a model that is about to be trained."""
    if isinstance(model, DistributedDataParallel):
        model = model.module
    return [PhaseHook(model.initial_phase_iters)] if isinstance(model, TOOD) else []


class PhaseHook(HookBase):
    """Says which phase training is in, and warns of a schedule without the second one."""

    def __init__(self, initial_phase_iters: int):
        self.initial_phase_iters = initial_phase_iters

    def before_train(self):
        start, end, change = self.trainer.iter, self.trainer.max_iter, self.initial_phase_iters
        if change >= end > 0:
            logger.warning(
                f"The schedule of {end} iterations ends inside the initial phase of {change}: "
                "there will be no task alignment learning. Train longer, or lower "
                "MODEL.TOOD.INITIAL_PHASE.ITERS (YAML) or model.initial_phase_iters."
            )
        self._log(start)

    def before_step(self):
        if self.trainer.iter == self.initial_phase_iters > self.trainer.start_iter:
            self._log(self.trainer.iter)

    def _log(self, iteration: int):
        if self.initial_phase_iters == ALWAYS:
            phase = "ATSS assignment throughout"
        elif iteration < self.initial_phase_iters:
            phase = f"initial phase (ATSS assignment) until iteration {self.initial_phase_iters}"
        else:
            phase = "task alignment learning"
        logger.info(f"Iteration {iteration}: {phase}.")
