"""Leaving training when the machine is wanted back, or its time is up."""

import logging
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from types import FrameType

from detectron2.engine import HookBase
from detectron2.utils import comm

from ...checkpoint.training_checkpointer import TrainingCheckpointer

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
TIME_IS_UP = 1  # less than any of these


@dataclass(eq=False)
class Interruption:
    """What processes are told by signals, or by the clock."""

    received: int = 0
    """Number of the signal that this process received, or ``TIME_IS_UP``; 0 for none."""
    agreed: int = 0
    """The largest number of all processes in the last step."""


@dataclass(eq=False)
class PreemptionHook(HookBase):
    """On SIGTERM or SIGINT to any process saves a checkpoint after the step and leaves.

    The exit status of all processes is 128 plus the signal's number, so that who started them can
    tell that training is not complete. A second SIGINT ends it at once, as without this hook.
    When the time is up, the status is 0, or torchrun would start training again.
    """

    checkpointer: TrainingCheckpointer
    """Of the state of training."""
    interruption: Interruption
    """What the steps of training share."""
    max_hours: float = 0.0
    """Hours of this start of training, 0 for any number."""
    _start: float = field(default=0.0, init=False)
    _handlers: dict[int, object] = field(default_factory=dict, init=False)

    def before_train(self):
        self._start = time.monotonic()
        # Python leaves signals to its main thread.
        if threading.current_thread() is threading.main_thread():
            self._handlers = {x: signal.signal(x, self._receive) for x in SIGNALS}

    def before_step(self):
        hours = (time.monotonic() - self._start) / 3600
        if self.max_hours and hours >= self.max_hours and not self.interruption.received:
            self.interruption.received = TIME_IS_UP

    def after_step(self):
        number = self.interruption.agreed
        if number and self.trainer.iter + 1 < self.trainer.max_iter:
            iteration = self.trainer.iter
            self.checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
            self.checkpointer.flush()
            timed = number == TIME_IS_UP
            reason = f"{self.max_hours:g} hours" if timed else signal.Signals(number).name
            logger.info(
                f"{reason}: training ends after iteration {iteration}, its state is saved. "
                "--resume goes on from there."
            )
            comm.synchronize()  # who ends first would have the others ended
            raise SystemExit(0 if timed else 128 + number)

    def after_train(self):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.interruption.received > TIME_IS_UP:
            raise KeyboardInterrupt
        if self.interruption.received <= TIME_IS_UP:
            text = f"\n{signal.Signals(number).name}: training ends after this step.\n"
            os.write(2, text.encode())  # other output might be locked
        self.interruption.received = number
