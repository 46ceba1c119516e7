"""Training of two processes, one of which is killed now and then: a part of soak.py."""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import torch
from soak_kills import FINAL, Training, environment, finish
from tabulate import tabulate
from tqdm import tqdm

KILLS = 4  # in a run at most
# That torchrun is allowed: it may need several if it is hit while the processes find each other.
RESTARTS = 3 * KILLS


def restarts(args: argparse.Namespace, folder: Path) -> int:
    """Kills one of the processes that torchrun started, at random moments."""
    generator = random.Random(args.seed)
    training = Training(folder / "data", args.iterations)
    start = time.monotonic()
    _train(training, folder / "whole", [])
    length = time.monotonic() - start
    expected = torch.load(folder / "whole" / FINAL, weights_only=True)

    counts: Counter = Counter()
    with tqdm(total=args.kills, unit="kill", disable=None) as progress:
        while counts["kills"] < args.kills:
            counts["runs"] += 1
            run = folder / f"run{counts['runs']}"
            pauses = [generator.uniform(0, length) for _ in range(KILLS)]
            kills = _train(training, run, pauses[: args.kills - counts["kills"]], generator)
            counts["kills"] += kills
            progress.update(kills)
            finish(run, expected, counts)
    print(tabulate([[x, counts[x]] for x in ("runs", "kills", "equal", "not equal")]))
    return 1 if counts["not equal"] else 0


def _train(
    training: Training, folder: Path, pauses: list[float], generator: random.Random | None = None
) -> int:
    """Trains in two processes, and kills one of them after each of the pauses, in seconds.

    Returns:
        The number of kills before training ended.

    Raises:
        RuntimeError: if it failed, with the messages of all processes.
    """
    folder.mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "--max-restarts", str(RESTARTS), *training.command[1:]]
    command += [*training.options, f"train.output_dir={folder}"]
    kills, log = 0, folder / "output.txt"
    with open(log, "w") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment(),
            start_new_session=True,
        )
        for pause in pauses:
            try:
                process.wait(pause)
                break
            except subprocess.TimeoutExpired:
                if trained := _children(process.pid):
                    os.kill(generator.choice(trained), signal.SIGKILL)
                    kills += 1
        status = process.wait()
    if status:
        own = [x for x in log.read_text().splitlines() if x.startswith("train_net.py")]
        raise RuntimeError(f"torchrun: status {status}: " + "\n".join(own))
    return kills


def _children(pid: int) -> list[int]:
    """Ids of the processes that train."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            if "train_net.py" in Path(f"/proc/{child}/cmdline").read_text():
                found.append(int(child))
        except OSError:  # it has ended meanwhile
            continue
    return found
