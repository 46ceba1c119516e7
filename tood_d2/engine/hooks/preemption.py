"""Leaving training when the machine is wanted back."""

import logging
import os
import signal
import threading
from dataclasses import dataclass, field
from types import FrameType

from detectron2.engine import HookBase
from detectron2.utils import comm

from ...checkpoint.training_checkpointer import TrainingCheckpointer

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(eq=False)
class Interruption:
    """What processes are told by signals."""

    received: int = 0
    """Number of the signal that this process received, 0 for none."""
    agreed: int = 0
    """The largest number of all processes in the last step."""


@dataclass(eq=False)
class PreemptionHook(HookBase):
    """On SIGTERM or SIGINT to any process saves a checkpoint after the step and leaves.

    The exit status of all processes is 128 plus the signal's number, so that who started them can
    tell that training is not complete. A second SIGINT ends it at once, as without this hook.
    """

    checkpointer: TrainingCheckpointer
    """Of the state of training."""
    interruption: Interruption
    """What the steps of training share."""
    _handlers: dict[int, object] = field(default_factory=dict, init=False)

    def before_train(self):
        # Python leaves signals to its main thread.
        if threading.current_thread() is threading.main_thread():
            self._handlers = {x: signal.signal(x, self._receive) for x in SIGNALS}

    def after_step(self):
        number = self.interruption.agreed
        if number and self.trainer.iter + 1 < self.trainer.max_iter:
            iteration = self.trainer.iter
            self.checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
            logger.info(
                f"{signal.Signals(number).name}: training ends after iteration {iteration}, its "
                "state is saved. --resume goes on from there."
            )
            comm.synchronize()  # who ends first would have the others ended
            raise SystemExit(128 + number)

    def after_train(self):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.interruption.received:
            raise KeyboardInterrupt
        if not self.interruption.received:
            text = f"\n{signal.Signals(number).name}: training ends after this step.\n"
            os.write(2, text.encode())  # other output might be locked
        self.interruption.received = number
