"""Copying the output folder elsewhere while training goes on."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from detectron2.engine import HookBase

from ...checkpoint.remote import RemoteFolder
from ...checkpoint.training_checkpointer import TrainingCheckpointer

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class RemoteCopyHook(HookBase):
    """Copies the output folder after each checkpoint, in a thread, and when training ends.

    The last of the hooks, so that what they write is copied. A copy that fails is tried again with
    the next one; if the last one fails, so does training, whose own files are whole.
    """

    checkpointer: TrainingCheckpointer
    """Whose folder is copied."""
    remote: RemoteFolder
    period: int
    """Iterations between checkpoints."""
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="copy"), init=False
    )
    _copy: Future | None = field(default=None, init=False)

    def after_step(self):
        if (self.trainer.iter + 1) % self.period:
            return
        if self._copy and not self._copy.done():
            logger.info(f"{self.remote.url}: an earlier copy still runs, this one is left out")
            return
        self._report()
        self._copy = self._thread.submit(self._push)

    def after_train(self):
        if self._copy:
            self._copy.exception()  # waits
        try:
            self._push()
        except Exception as error:
            raise OSError(
                f"{self.remote.url}: the last copy failed ({error}); all files are in "
                f"{self.checkpointer.save_dir}"
            ) from error
        finally:
            self._thread.shutdown()

    def _push(self) -> None:
        self.checkpointer.flush()
        self.remote.push(self.checkpointer.save_dir)

    def _report(self) -> None:
        if self._copy and (error := self._copy.exception()):
            logger.warning(f"{self.remote.url}: copying failed ({error}), it is tried again")
