"""Checkpoints whose writing fails or which are damaged: a part of soak.py."""

import argparse
import errno
import itertools
import logging
import multiprocessing
import os
import random
import re
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from tabulate import tabulate
from torch import nn
from tqdm import tqdm

from tood_d2.checkpoint.atomic import remove_unfinished
from tood_d2.checkpoint.training_checkpointer import TrainingCheckpointer

TAG = "last_checkpoint"
WIDTH = 256  # of the written layer
KEPT = 6  # checkpoints in the folder
REFUSED = 3  # exit status of a process that could not write


class _State:
    """Part of a checkpoint beside the model, by the fields of a trainer's."""

    def __init__(self, number: int):
        self.number = number

    def state_dict(self) -> dict:
        return {"iteration": self.number, "optimizer": {}}

    def load_state_dict(self, state: dict) -> None:
        self.number = state["iteration"]


def _checkpointer(folder: Path, number: int) -> TrainingCheckpointer:
    """Of weights that are all the same number."""
    model = nn.Linear(WIDTH, WIDTH)
    for parameter in model.parameters():
        nn.init.constant_(parameter, number)
    # Every second one is written in the background.
    state = {"background": number % 2 == 1, "trainer": _State(number)}
    return TrainingCheckpointer(model, str(folder), [], **state)


def _name(number: int) -> str:
    return f"model_{number:07d}"


def _write(folder: Path, number: int) -> None:
    checkpointer = _checkpointer(folder, number)
    checkpointer.save(_name(number), iteration=number)
    checkpointer.flush()


def _resumed_number(folder: Path) -> int:
    """The number that is in all parts of what one resumes from, -1 if there is nothing.

    Raises:
        ValueError: if the parts differ.
    """
    checkpointer = _checkpointer(folder, -1)
    iteration = checkpointer.resume_or_load("", resume=True).get("iteration", -1)
    values = {float(x) for p in checkpointer.model.parameters() for x in p.detach().aminmax()}
    if {*values, checkpointer.checkpointables["trainer"].number} != {iteration}:
        raise ValueError(f"iteration {iteration} has the weights {values}")
    return iteration


class Writing:
    """Checkpoints in a folder, whose writing fails or which are damaged."""

    def __init__(self, folder: Path, seed: int):
        self.folder = folder
        self.generator = random.Random(seed)
        self.whole: list[int] = []
        """Numbers of the checkpoints that are whole, the newest last."""
        self.number = 0
        self.seconds = 0.0  # that writing takes
        self.write()
        self.size = self.path().stat().st_size

    def path(self) -> Path:
        return self.folder / f"{_name(self.number)}.pth"

    def write(self) -> None:
        """A write that succeeds."""
        status = self._in_process(lambda: None)
        if status:
            raise RuntimeError(f"writing ended with status {status}")
        self.whole.append(self.number)

    def _in_process(self, prepare: Callable[[], object], seconds: float | None = None) -> int:
        """Writes in another process, killed after some time, and returns its exit status."""

        def main():
            prepare()
            try:
                _write(self.folder, self.number)
            except OSError as error:
                # What was injected, by its number, and what is said of it.
                known = (errno.EFBIG, errno.EROFS)
                os._exit(REFUSED if error.errno in known and error.filename else 1)
            os._exit(0)

        process = multiprocessing.get_context("fork").Process(target=main)
        start = time.monotonic()
        process.start()
        process.join(seconds)
        process.kill()
        process.join()
        if process.exitcode == 0:
            self.seconds = time.monotonic() - start
        return process.exitcode

    def _write_too_much(self, handler: signal.Handlers) -> int:
        """Writes where the system signals the process at a random byte of the file."""
        limits = (self.generator.randrange(self.size), resource.RLIM_INFINITY)

        def prepare():
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGXFSZ, handler)
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

        return self._in_process(prepare)

    def killed_at_a_byte(self) -> bool:
        return self._write_too_much(signal.SIG_DFL) == -signal.SIGXFSZ

    def full_disk(self) -> bool:
        return self._write_too_much(signal.SIG_IGN) == REFUSED

    def killed_at_a_moment(self) -> bool:
        seconds = self.generator.uniform(0, 1.2 * self.seconds)
        status = self._in_process(lambda: None, seconds)
        if self.path().is_file():
            self.whole.append(self.number)
        return status in (0, -signal.SIGKILL)

    def read_only_folder(self) -> bool:
        error = OSError(errno.EROFS, os.strerror(errno.EROFS))
        patch = mock.patch("tood_d2.checkpoint.atomic.open", side_effect=error, create=True)
        return self._in_process(patch.start) == REFUSED

    def truncated_afterwards(self) -> bool:
        self.write()
        os.truncate(self.path(), self.generator.randrange(self.size))
        self.whole.pop()
        return True

    def byte_changed_afterwards(self) -> bool:
        self.write()
        with open(self.path(), "r+b") as file:
            # Somewhere in the weights, which make up most of the file.
            position = self.generator.randrange(self.size // 4, self.size // 2)
            file.seek(position)
            byte = file.read(1)[0]
            file.seek(position)
            file.write(bytes([byte ^ (1 << self.generator.randrange(8))]))
        self.whole.pop()
        return True

    def no_last_checkpoint(self) -> bool:
        self.write()
        (self.folder / TAG).unlink()
        return True

    def nothing(self) -> bool:
        self.write()
        return True

    def expected(self) -> int:
        """The newest whole checkpoint up to the one that the run names as its last."""
        tag = self.folder / TAG
        last = int(re.search(r"\d+", tag.read_text())[0]) if tag.is_file() else self.number
        return max(x for x in self.whole if x <= last)

    def clean(self) -> None:
        remove_unfinished(str(self.folder))
        for number in self.whole[:-KEPT]:
            (self.folder / f"{_name(number)}.pth").unlink()
        del self.whole[:-KEPT]


FAILURES = {
    "none": Writing.nothing,
    "killed at a byte": Writing.killed_at_a_byte,
    "killed at a moment": Writing.killed_at_a_moment,
    "full disk": Writing.full_disk,
    "read-only folder": Writing.read_only_folder,
    "truncated afterwards": Writing.truncated_afterwards,
    "a bit changed afterwards": Writing.byte_changed_afterwards,
    "last_checkpoint lost": Writing.no_last_checkpoint,
}


def writes(args: argparse.Namespace, folder: Path) -> int:
    """Lets writing fail in one way after the other."""
    torch.set_num_threads(1)  # processes are forked
    logging.disable(logging.WARNING)
    writing = Writing(folder, args.seed)
    counts = {name: Counter() for name in FAILURES}
    cycle = itertools.islice(itertools.cycle(FAILURES.items()), args.writes)
    for name, fail in tqdm(cycle, total=args.writes, unit="write", disable=None):
        writing.number += 1
        count = counts[name]
        count["writes"] += 1
        as_intended, expected = fail(writing), writing.expected()
        try:
            number = _resumed_number(folder)
        except Exception as error:  # whatever keeps from resuming is a result
            tqdm.write(f"write {writing.number}, {name}: {type(error).__name__}: {error}")
            number = None
        count["resumed from it"] += number == writing.number
        count["resumed from an older one"] += number is not None and number < writing.number
        if number != expected or not as_intended:
            count["wrong"] += 1
            tqdm.write(
                f"write {writing.number}, {name}: resumed from {number} instead of "
                f"{expected}; failed as intended: {as_intended}"
            )
        writing.clean()
    columns = ["writes", "resumed from it", "resumed from an older one", "wrong"]
    total = sum(counts.values(), Counter())
    rows = [[name, *(x[column] for column in columns)] for name, x in counts.items()]
    rows.append(["all", *(total[column] for column in columns)])
    print(tabulate(rows, ["failure", *columns]))
    logging.disable(logging.NOTSET)
    return 1 if total["wrong"] else 0
