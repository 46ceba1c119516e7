"""What the hooks of TOOD log: its phase and its assignment."""

import logging

import torch

from detectron2.engine import HookBase

from ...config.options import keys_of
from ...modeling.meta_arch import ALWAYS, TOOD

logger = logging.getLogger(__name__)


class PhaseHook(HookBase):
    """Logs the phase that training is in, and warns of a schedule without the second one."""

    def __init__(self, model: TOOD):
        """
        Args:
            model: not wrapped for several processes.
        """
        self.model = model

    def before_train(self):
        start, end = self.trainer.iter, self.trainer.max_iter
        change = self.model.initial_phase_iters
        if change >= end > 0:
            logger.warning(
                f"The schedule of {end} iterations ends inside the initial phase of {change}: "
                "there will be no task alignment learning. Train longer, or lower "
                f"{keys_of('initial_phase_iters')}."
            )
        self._log(start)

    def before_step(self):
        if self.trainer.iter == self.model.initial_phase_iters > self.trainer.start_iter:
            self._log(self.trainer.iter)

    def after_step(self):
        phase = float(self.model.in_initial_phase(self.trainer.iter))
        self.trainer.storage.put_scalar("[metric] initial_phase", phase, smoothing_hint=False)

    def _log(self, iteration: int):
        length = self.model.initial_phase_iters
        if length == ALWAYS:
            phase = "ATSS assignment throughout"
        elif iteration < length:
            phase = f"initial phase (ATSS assignment) until iteration {length}"
        else:
            phase = "task alignment learning"
        logger.info(f"Iteration {iteration}: {phase}.")


class AssignmentMetrics(HookBase):
    """Logs a model's metrics of the assignment; with gradient accumulation, of the last batch."""

    def __init__(self, model: TOOD):
        """
        Args:
            model: not wrapped for several processes.
        """
        self.model = model

    def after_step(self):
        metrics = self.model.assignment_metrics
        values = torch.stack(list(metrics.values())).tolist()  # one transfer for all
        scalars = {f"[metric] {k}": v for k, v in zip(metrics, values, strict=True)}
        self.trainer.storage.put_scalars(**scalars)
