"""TOOD's phase and assignment in the log."""

import logging
from dataclasses import dataclass

import torch

from detectron2.engine import HookBase

from ...config.options import keys_of
from ...modeling.meta_arch import ALWAYS, TOOD

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class AssignmentHook(HookBase):
    """Logs the phase that training is in and, each step, how the last batch was assigned.

    Warns of a schedule without the second phase.
    """

    model: TOOD
    """Not wrapped for several processes."""

    def before_train(self):
        end, change = self.trainer.max_iter, self.model.initial_phase_iters
        if change >= end > 0:
            logger.warning(
                f"The schedule of {end} iterations ends inside the initial phase of {change}: "
                "there will be no task alignment learning. Train longer, or lower "
                f"{keys_of('initial_phase_iters')}."
            )
        self._log_phase()

    def before_step(self):
        if self.trainer.iter == self.model.initial_phase_iters > self.trainer.start_iter:
            self._log_phase()

    def after_step(self):
        storage, metrics = self.trainer.storage, self.model.assignment_metrics
        values = torch.stack(list(metrics.values())).tolist()  # one transfer for all
        storage.put_scalars(**{f"[metric] {k}": v for k, v in zip(metrics, values, strict=True)})
        phase = float(self.model.in_initial_phase(self.trainer.iter))
        storage.put_scalar("[metric] initial_phase", phase, smoothing_hint=False)

    def _log_phase(self):
        iteration, length = self.trainer.iter, self.model.initial_phase_iters
        if length == ALWAYS:
            phase = "ATSS assignment throughout"
        elif iteration < length:
            phase = f"initial phase (ATSS assignment) until iteration {length}"
        else:
            phase = "task alignment learning"
        logger.info(f"Iteration {iteration}: {phase}.")
