"""Too little shared memory for a loader's workers."""

import errno
import multiprocessing
import re
from multiprocessing.queues import Queue

import pytest
from torch.utils.data import DataLoader, Dataset

from tood_d2.cli.messages import describe
from tood_d2.cli.shared_memory import end_workers_without_memory

TOO_LITTLE = r"too little shared memory \(/dev/shm has \d+ MB\).*--shm-size.*num_workers=0"


class Unsendable:
    """A sample that its worker cannot send."""

    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


class Samples(Dataset):
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return Unsendable(self.error)


@pytest.fixture
def next_batch(monkeypatch):
    """Asks a worker for a batch that fails with an error on its way."""
    monkeypatch.setattr(Queue, "_on_queue_feeder_error", Queue._on_queue_feeder_error)
    end_workers_without_memory()
    return lambda error: next(iter(DataLoader(Samples(error), num_workers=1, collate_fn=list)))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_a_batch_that_does_not_fit_ends_the_loader(next_batch, error):
    with pytest.raises(RuntimeError) as caught:  # instead of waiting for ever
        next_batch(error)
    assert re.match(TOO_LITTLE, describe(caught.value, "hint"))


def test_other_errors_end_the_loader_without_talk_of_memory(next_batch):
    with pytest.raises(RuntimeError) as caught:
        next_batch(TypeError("cannot pickle"))
    assert "memory" not in describe(caught.value)


def test_a_bus_error_is_explained():
    error = RuntimeError(
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that "
        "dataloader's workers are out of shared memory. Please try to raise your limit."
    )
    assert describe(error, "hint").startswith("too little shared memory")


def test_locks_that_do_not_fit_are_explained(monkeypatch):
    def no_lock(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("_multiprocessing.SemLock", no_lock)
    with pytest.raises(OSError) as caught:
        multiprocessing.Lock()
    assert describe(caught.value).startswith("too little shared memory")
    assert (
        describe(OSError(errno.ENOSPC, "full", "a.txt")) == f"[Errno {errno.ENOSPC}] full: 'a.txt'"
    )
