"""A copy of an output folder, on whatever fsspec knows, such as S3."""

import contextlib
import itertools
import os
import posixpath
import sys
from collections.abc import Callable
from functools import cached_property

import fsspec

from .atomic import atomic_write, is_unfinished, unfinished_name
from .recovery import checkpoint_iteration, tagged_name

_TAG = "last_checkpoint"
_FOLDERS = ("inference", "ema")  # in which a run writes results
# Which have no folders, and show a file once it is complete.
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "az"}


class RemoteFolder:
    """Where the files of a run are copied to, and where a run that lost its own finds them.

    A file there is whole: it is written under another name, or by a store that shows it when it is
    complete. ``last_checkpoint`` comes after the checkpoint that it names.
    """

    def __init__(self, url: str, max_to_keep: int = 100):
        """
        Args:
            url: of the folder, or a local path.
            max_to_keep: latest periodic checkpoints that are kept there.
        """
        self.url, self.max_to_keep = url, max_to_keep
        self._sent: dict[str, tuple[int, int]] = {}

    @cached_property
    def _target(self) -> tuple[fsspec.AbstractFileSystem, str]:
        return fsspec.url_to_fs(self.url)

    def check(self) -> None:
        """Makes the folder and writes to it.

        Raises:
            OSError: if that cannot be done, or the package for such URLs is missing.
        """
        name = unfinished_name()
        try:
            filesystem, folder = self._target
            self._make(folder)
            filesystem.pipe_file(posixpath.join(folder, name), b"")
            filesystem.rm_file(posixpath.join(folder, name))
        except Exception as error:  # of any kind, as each store has its own
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise OSError(f"{self.url}: cannot be written to ({reason})") from error

    def last(self) -> str:
        """Name of the last checkpoint there, "" if there is none."""
        filesystem, folder = self._target
        with contextlib.suppress(FileNotFoundError):
            return filesystem.cat_file(posixpath.join(folder, _TAG)).decode().strip()
        return ""

    def push(self, folder: str) -> None:
        """Copies what has changed in the output folder since the last time.

        Raises:
            OSError: if a file cannot be copied; those before it are.
        """
        last = tagged_name(folder)  # a later one may come while files are copied
        for name in _files(folder):
            path = os.path.join(folder, name)
            try:
                state = os.stat(path)
                state = state.st_size, state.st_mtime_ns
                if self._sent.get(name) != state:
                    self._put(path, name)
                    self._sent[name] = state
            except FileNotFoundError:
                if os.path.exists(path):
                    raise
                # Removed meanwhile, as are checkpoints.
        if last in self._sent:
            self._write(_TAG, lambda there: self._target[0].pipe_file(there, last.encode()))
            self._remove_old(last)

    def pull(self, folder: str) -> bool:
        """Copies a run from there if its last checkpoint is a later one than the local one.

        That is the last checkpoint, and those of the other files, which grow, that are longer.

        Returns:
            Whether it did.

        Raises:
            OSError: if a file cannot be copied.
        """
        last = self.last()
        if checkpoint_iteration(last) <= checkpoint_iteration(tagged_name(folder)):
            return False
        filesystem, source = self._target
        for there, info in filesystem.find(source, detail=True).items():
            name = posixpath.relpath(there, source)
            path = os.path.join(folder, *name.split("/"))
            is_wanted = name == last or checkpoint_iteration(name) < 0
            if not is_wanted or name == _TAG or is_unfinished(name):
                continue
            is_longer = not os.path.isfile(path) or os.path.getsize(path) < info["size"]
            if name == last or is_longer:
                self._get(there, path)
        with atomic_write(os.path.join(folder, _TAG), "w") as file:
            file.write(last)
        return True

    def _put(self, path: str, name: str) -> None:
        name = name.replace(os.sep, "/")
        self._write(name, lambda there: self._target[0].put_file(path, there))

    def _write(self, name: str, write: Callable[[str], object]) -> None:
        """Calls a function with a path there; afterwards the whole file has its name."""
        filesystem, folder = self._target
        target = posixpath.join(folder, name)
        if self._is_object_store:
            write(target)
            return
        self._make(posixpath.dirname(target))
        beside = posixpath.join(posixpath.dirname(target), unfinished_name())
        write(beside)
        filesystem.mv(beside, target)

    def _make(self, folder: str) -> None:
        if not self._is_object_store:
            self._target[0].makedirs(folder, exist_ok=True)

    @property
    def _is_object_store(self) -> bool:
        protocol = self._target[0].protocol
        return not _OBJECT_STORES.isdisjoint([protocol] if isinstance(protocol, str) else protocol)

    def _get(self, there: str, path: str) -> None:
        filesystem, _ = self._target
        os.makedirs(os.path.dirname(path), exist_ok=True)
        beside = os.path.join(os.path.dirname(path), unfinished_name())
        filesystem.get_file(there, beside)
        os.replace(beside, path)

    def _remove_old(self, last: str) -> None:
        filesystem, folder = self._target
        names = map(posixpath.basename, filesystem.ls(folder, detail=False))
        # Later ones than the last one are left from a run that was given up.
        limit = min(checkpoint_iteration(last), sys.maxsize)
        periodic = [x for x in names if 0 <= checkpoint_iteration(x) <= limit]
        for name in sorted(periodic, key=checkpoint_iteration)[: -self.max_to_keep]:
            filesystem.rm_file(posixpath.join(folder, name))


def _files(folder: str) -> list[str]:
    """Names of a run's files, but for ``last_checkpoint``; other folders may be of other runs."""
    own = [os.walk(os.path.join(folder, name)) for name in _FOLDERS]
    walks = itertools.chain(itertools.islice(os.walk(folder), 1), *own)
    paths = (os.path.join(path, name) for path, _, names in walks for name in names)
    found = {os.path.relpath(x, folder) for x in paths if not is_unfinished(x)}
    return sorted(found - {_TAG})
