"""TOOD's phase and assignment in the log."""

import logging
from collections import deque
from dataclasses import dataclass

import torch

from detectron2.engine import HookBase

from ...config.options import keys_of
from ...modeling.meta_arch import ALWAYS, TOOD
from ...modeling.targets import SIZES

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class AssignmentHook(HookBase):
    """Logs the phase that training is in and, each step, how the last batch was assigned.

    ``unmatched_share/small``, ``/medium`` and ``/large`` are sums over the last steps: the objects
    of that size without an anchor by all objects of that size. Nothing is logged of a size without
    objects. A mean of the shares of single steps would count one object as much as a hundred.

    Warns of a schedule without the second phase.
    """

    model: TOOD
    """Not wrapped for several processes."""
    window: int = 20
    """Steps that the shares are of."""

    def __post_init__(self):
        self._counts: deque[list[float]] = deque(maxlen=self.window)

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
        counts = self.model.object_counts
        values = torch.cat((torch.stack(list(metrics.values())), counts.flatten()))
        values = values.tolist()  # one transfer for all
        scalars = zip(metrics, values[: len(metrics)], strict=True)
        storage.put_scalars(**{f"[metric] {k}": v for k, v in scalars})
        self._counts.append(values[len(metrics) :])
        sums = torch.tensor([*self._counts]).sum(dim=0).view_as(counts).tolist()
        for size, number, unmatched in zip(SIZES, *sums, strict=True):
            if number > 0:
                name = f"[metric] unmatched_share/{size}"
                storage.put_scalar(name, unmatched / number, smoothing_hint=False)
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
