"""Training that is killed at random and resumed: a part of soak.py."""

import argparse
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from tabulate import tabulate
from torch import Tensor
from tqdm import tqdm

from tood_d2.data.shapes import make_shapes

ROOT = Path(__file__).resolve().parents[1]
FINAL = "model_final.pth"
TAG = "last_checkpoint"


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
        log = folder / "output.txt"
        return run_for([*command, f"train.output_dir={folder}"], log, seconds)


def environment() -> dict[str, str]:
    """Of the programs: one thread, no GPU."""
    variables = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **os.environ}
    variables["PYTHONPATH"] = f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"
    return variables


def run_for(command: list[str], log: Path, seconds: float | None = None) -> bool:
    """Runs a program, and kills all its processes after some time.

    Args:
        command: of the program.
        log: file for what it prints.
        seconds: after which it is killed, None for never.

    Returns:
        Whether it ended before.

    Raises:
        RuntimeError: if it failed, with the end of what it printed.
    """
    with open(log, "w") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment(),
            start_new_session=True,
        )
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        finally:
            _kill_group(process)
    if status:
        raise RuntimeError(f"{command[1]}: status {status}: {log.read_text()[-2000:]}")
    return True


def _kill_group(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # all have ended
        return
    process.wait()


def finish(run: Path, expected: dict, counts: Counter) -> None:
    """Compares the last checkpoint of a run with another one, counts the result, removes it."""
    actual = torch.load(run / FINAL, weights_only=True) if (run / FINAL).is_file() else None
    different = list(differences(expected, actual, FINAL))
    counts["equal" if not different else "not equal"] += 1
    if different:
        tqdm.write(f"{run.name}: different: {', '.join(sorted(different)[:5])}")
    shutil.rmtree(run)


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
            finish(run, expected, counts)
    names = ["runs", "kills", "kills before the first checkpoint"]
    names += ["kills in the middle of a write", "resumes", "equal", "not equal"]
    print(tabulate([[name, counts[name]] for name in names]))
    return 1 if counts["not equal"] else 0
