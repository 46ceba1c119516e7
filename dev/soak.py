#!/usr/bin/env python
"""Interrupts training and its writing of checkpoints at random, and checks what is left.

soak.py kills --kills 20      training is killed and resumed: it ends with the same weights
soak.py writes --writes 200   writing a checkpoint fails: one resumes from the newest whole one

"kills" trains a tiny model on generated images to the end. Then it does so again in other folders,
where SIGKILL hits all processes at random moments and --resume follows, until there were so many
kills; each of these runs has to end with the same checkpoint, bit for bit.

"writes" has checkpoints written by a process that is killed at a byte or at a moment, that reaches
its limit of a file's size (as on a full disk), or whose folder cannot be written to. The latter is
simulated by an error of the call that opens the file, since nothing is read-only to root. Other
checkpoints are damaged once they are written, or lose the file that names the last one.
"""

import argparse
import errno
import itertools
import logging
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from tabulate import tabulate
from torch import Tensor, nn
from tqdm import tqdm

from tood_d2.checkpoint.atomic import remove_unfinished
from tood_d2.checkpoint.training_checkpointer import TrainingCheckpointer
from tood_d2.cli.messages import short_errors
from tood_d2.data.shapes import make_shapes

ROOT = Path(__file__).resolve().parents[1]
FINAL = "model_final.pth"
TAG = "last_checkpoint"
WIDTH = 256  # of the written layer
KEPT = 6  # checkpoints in the folder
REFUSED = 3  # exit status of a process that could not write


def differences(one, other, name: str = "") -> Iterator[str]:
    """Names of what differs in two checkpoints."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from differences(one.get(key), other.get(key), f"{name}/{key}")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        for i, pair in enumerate(itertools.zip_longest(one, other)):
            yield from differences(*pair, f"{name}/{i}")
    elif isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.dtype != other.dtype or not torch.equal(one, other):
            yield name
    elif one != other:
        yield name


class Training:
    """Runs of train_net.py in processes of their own."""

    def __init__(self, data: Path, iterations: int):
        """
        Args:
            data: folder for generated images.
            iterations: of a run.
        """
        make_shapes(data, num_train=8, num_val=2, seed=0)
        names = {"train_json": "train.json", "train_images": "train"}
        names |= {"test_json": "val.json", "test_images": "val"}
        self.command = [sys.executable, str(ROOT / "train_net.py"), "--config-file"]
        self.command += [str(ROOT / "configs" / "tood_R_18_FPN_small.py")]
        self.options = [f"dataset.{key}={data / name}" for key, name in names.items()] + [
            "model.head.num_convs=2",
            f"model.initial_phase_iters={iterations // 2}",
            "dataloader.train.total_batch_size=2",
            "dataloader.train.num_workers=1",
            "dataloader.train.mapper.augmentations.0.short_edge_length=[96]",
            "dataloader.test.mapper.augmentations.0.short_edge_length=96",
            f"train.max_iter={iterations}",
            "train.ema.enabled=True",
            "train.checkpointer.period=5",
            "train.checkpointer.max_to_keep=2",
            "train.device=cpu",
            "train.seed=0",
        ]

    def run(self, folder: Path, seconds: float | None = None) -> bool:
        """Trains, or goes on training, and kills all processes after some time.

        Returns:
            Whether training ended before.

        Raises:
            RuntimeError: if it failed, with the end of what it printed.
        """
        folder.mkdir(exist_ok=True)
        command = [*self.command[:2], "--resume", *self.command[2:], *self.options]
        environment = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **os.environ}
        environment["PYTHONPATH"] = f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"
        log = folder / "output.txt"
        with open(log, "w") as file:
            process = subprocess.Popen(
                [*command, f"train.output_dir={folder}"],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
            try:
                status = process.wait(seconds)
            except subprocess.TimeoutExpired:
                return False
            finally:
                _kill_group(process)
        if status:
            raise RuntimeError(f"training ended with status {status}: {log.read_text()[-2000:]}")
        return True


def _kill_group(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # all have ended
        return
    process.wait()


def kills(args: argparse.Namespace, folder: Path) -> int:
    """Kills training at random."""
    generator = random.Random(args.seed)
    training = Training(folder / "data", args.iterations)
    start = time.monotonic()
    training.run(folder / "whole")
    length = time.monotonic() - start
    expected = torch.load(folder / "whole" / FINAL, weights_only=True)

    counts: Counter = Counter()
    with tqdm(total=args.kills, unit="kill", disable=None) as progress:
        while counts["kills"] < args.kills:
            counts["runs"] += 1
            run = folder / f"run{counts['runs']}"
            while True:
                is_last = counts["kills"] == args.kills
                # Half of them early, when there is nothing to resume from or it is being loaded.
                moment = generator.uniform(0, length) * generator.choice((0.25, 1))
                seconds = None if is_last else moment
                counts["resumes"] += (run / TAG).is_file()
                if training.run(run, seconds):
                    break
                counts["kills"] += 1
                counts["kills before the first checkpoint"] += not (run / TAG).is_file()
                counts["kills in the middle of a write"] += any(run.glob("*.tmp"))
                progress.update()
            actual = torch.load(run / FINAL, weights_only=True) if (run / FINAL).is_file() else None
            different = list(differences(expected, actual, FINAL))
            counts["equal" if not different else "not equal"] += 1
            if different:
                tqdm.write(f"{run.name}: different: {', '.join(sorted(different)[:5])}")
            shutil.rmtree(run)
    names = ["runs", "kills", "kills before the first checkpoint"]
    names += ["kills in the middle of a write", "resumes", "equal", "not equal"]
    print(tabulate([[name, counts[name]] for name in names]))
    return 1 if counts["not equal"] else 0


class _State:
    """Part of a checkpoint beside the model."""

    def __init__(self, number: int):
        self.number = number

    def state_dict(self) -> dict:
        return {"number": self.number}

    def load_state_dict(self, state: dict) -> None:
        self.number = state["number"]


def _checkpointer(folder: Path, number: int) -> TrainingCheckpointer:
    """Of weights that are all the same number."""
    model = nn.Linear(WIDTH, WIDTH)
    for parameter in model.parameters():
        nn.init.constant_(parameter, number)
    return TrainingCheckpointer(model, str(folder), [], trainer=_State(number))


def _name(number: int) -> str:
    return f"model_{number:07d}"


def _write(folder: Path, number: int) -> None:
    _checkpointer(folder, number).save(_name(number), iteration=number)


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


def _kill_this() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _at_byte(number: int, action: Callable[[], None]):
    """Patches opening so that an action comes before a byte of the file is written."""

    def opening(*args, **kwargs):
        file = open(*args, **kwargs)  # noqa: SIM115
        write, written = file.write, 0

        def counting(data):
            nonlocal written
            size = len(data) if isinstance(data, str) else memoryview(data).nbytes
            if written + size >= number:
                write(data[: max(0, number - written)])
                file.flush()
                action()
            written += size
            return write(data)

        proxy = mock.MagicMock(wraps=file, spec=file)
        proxy.write = counting
        proxy.__enter__.return_value = proxy
        proxy.__exit__.side_effect = lambda *error: file.close()
        return proxy

    return mock.patch("tood_d2.checkpoint.atomic.open", opening, create=True)


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
        reading, writing = os.pipe()

        def main():
            prepare()
            os.write(writing, b".")  # from here on time counts
            try:
                _write(self.folder, self.number)
            except OSError as error:
                # What was injected, by its number, and what is said of it.
                known = (errno.EFBIG, errno.EROFS)
                os._exit(REFUSED if error.errno in known and error.filename else 1)
            os._exit(0)

        process = multiprocessing.get_context("fork").Process(target=main)
        process.start()
        os.close(writing)
        os.read(reading, 1)
        start = time.monotonic()
        if seconds is not None:
            time.sleep(seconds)
            process.kill()
        process.join()
        if process.exitcode == 0 and seconds is None:
            self.seconds = time.monotonic() - start
        os.close(reading)
        return process.exitcode

    def killed_at_a_byte(self) -> bool:
        byte = self.generator.randrange(self.size)
        return self._in_process(_at_byte(byte, _kill_this).start) == -signal.SIGKILL

    def killed_at_a_moment(self) -> bool:
        seconds = self.generator.uniform(0, 1.2 * self.seconds)
        status = self._in_process(lambda: None, seconds)
        if self.path().is_file():
            self.whole.append(self.number)
        return status in (0, -signal.SIGKILL)

    def full_disk(self) -> bool:
        limit = self.generator.randrange(self.size)
        limits = (limit, resource.RLIM_INFINITY)
        prepare = partial(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
        return self._in_process(prepare) == REFUSED

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


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("kills", help="kill training at random and resume it")
    command.set_defaults(run=kills)
    command.add_argument("--kills", type=int, default=20, help="in all (20)")
    command.add_argument("--iterations", type=int, default=40, help="of a run (40)")
    _add_common(command)
    command = commands.add_parser("writes", help="let writing of checkpoints fail")
    command.set_defaults(run=writes)
    command.add_argument("--writes", type=int, default=200, help="in all (200)")
    _add_common(command)
    args = parser.parse_args()
    with short_errors(parser.prog), tempfile.TemporaryDirectory(prefix="soak-") as folder:
        return args.run(args, Path(folder))


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, default=0, help="of what happens when (0)")


if __name__ == "__main__":
    sys.exit(main())
