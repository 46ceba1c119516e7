"""How checkpoints come to the disk: whole or not at all, at once or in the background."""

import contextlib
import io
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO

from detectron2.utils.file_io import PathManager

from .atomic import atomic_write


class AtomicFiles:
    """Detectron2's PathManager, with which local files are written whole or not at all."""

    def open(self, path: str, mode: str = "r", **kwargs):
        if "w" in mode and "://" not in path:
            return atomic_write(path, mode)
        return PathManager.open(path, mode, **kwargs)

    def rm(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # of another machine's process
            PathManager.rm(path)

    def flush(self) -> None:
        """Waits until all is done that was asked for."""

    def __getattr__(self, name):
        return getattr(PathManager, name)


class BackgroundFiles(AtomicFiles):
    """The same by a thread, one file after the other, while training goes on.

    What is written waits in memory, one checkpoint at most. After a failure nothing more is done:
    no older checkpoint is removed for one that could not be written. The next call raises it.
    """

    def __init__(self):
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._last: Future | None = None

    def open(self, path: str, mode: str = "r", **kwargs):
        if "w" in mode and "://" not in path:
            return self._write_later(path, mode)
        return super().open(path, mode, **kwargs)

    @contextlib.contextmanager
    def _write_later(self, path: str, mode: str) -> Iterator[IO]:
        if "b" in mode:
            self.flush()
        buffer = io.BytesIO() if "b" in mode else io.StringIO()
        yield buffer
        self._later(_write, path, mode, buffer)

    def rm(self, path: str) -> None:
        self._later(super().rm, path)

    def flush(self) -> None:
        if self._last:
            self._last.result()

    def _later(self, function: Callable, *args) -> None:
        before = self._last

        def call():
            if before:
                before.result()
            function(*args)

        self._last = self._thread.submit(call)


def _write(path: str, mode: str, buffer: io.BytesIO | io.StringIO) -> None:
    with atomic_write(path, mode) as file:
        file.write(buffer.getbuffer() if isinstance(buffer, io.BytesIO) else buffer.getvalue())
