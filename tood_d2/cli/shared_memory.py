"""Too little shared memory, through which a loader's workers pass their batches on.

Containers often have 64 MB of it.
"""

import contextlib
import errno
import multiprocessing
import os
import re
import shutil
from multiprocessing import synchronize
from multiprocessing.queues import Queue
from traceback import extract_tb, print_exc

_FOLDER = "/dev/shm"
_EXIT_STATUS = 74  # EX_IOERR
_SIGNS = re.compile(rf"out of shared memory|shared memory\(shm\)|exit code {_EXIT_STATUS}\b")


def end_workers_without_memory() -> None:
    """Makes workers end that cannot pass a batch on, in this process and those that it starts.

    Python would only print why, and the loader would wait for the batch without end.
    """
    Queue._on_queue_feeder_error = staticmethod(_end_worker)


def lack_of_memory(error: BaseException) -> str:
    """What to do about an error, "" if it is not one of shared memory."""
    errors = [error]
    while (cause := errors[-1].__cause__) is not None:  # PyTorch's own error may not tell
        errors.append(cause)
    if isinstance(error, RuntimeError):
        found = any(_SIGNS.search(str(x)) for x in errors)
    else:  # of locks between the processes
        files = [x.filename for x in extract_tb(error.__traceback__)]
        found = _is_full(error) and synchronize.__file__ in files
    if not found:
        return ""
    size = ""
    with contextlib.suppress(OSError):
        size = f" ({_FOLDER} has {shutil.disk_usage(_FOLDER).total / 2**20:.0f} MB)"
    return (
        f"too little shared memory{size} for the workers that read images: give the machine more, "
        "for Docker by --shm-size=8g, or do without workers by dataloader.train.num_workers=0 and "
        "dataloader.test.num_workers=0, for YAML DATALOADER.NUM_WORKERS 0"
    )


def _is_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno == errno.ENOSPC


def _end_worker(error: Exception, batch: object) -> None:
    out_of_memory = _SIGNS.search(str(error)) or _is_full(error)
    if not out_of_memory:
        print_exc()
    if multiprocessing.parent_process() is not None:
        os._exit(_EXIT_STATUS if out_of_memory else 1)
