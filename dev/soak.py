#!/usr/bin/env python
"""Interrupts training and its writing of checkpoints at random, and checks what is left.

soak.py kills --kills 20      training is killed and resumed: it ends with the same weights
soak.py writes --writes 200   writing a checkpoint fails: one resumes from the newest whole one
soak.py restarts              one of torchrun's processes is killed: the weights are the same
soak.py predictions           tools/predict.py is killed and started again: its rows are the same
soak.py ray --images 500      one of two Ray nodes dies while it detects: its rows are the same

"kills" trains a tiny model on generated images to the end. Then it does so again in other folders,
where SIGKILL hits all processes at random moments and --resume follows, until there were so many
kills; each of these runs has to end with the same checkpoint, bit for bit.

"ray" starts both nodes on this machine, by "ray start", each with one core, and kills the raylet of
the second one, by which its actors die, too; then another node takes its place. The rows have to be
those of a single process, with each image once.

"writes" has checkpoints written by a process that is killed at a byte or at a moment, whose write
fails at its limit of a file's size (as on a full disk), or whose folder cannot be written to. The
latter is simulated by an error of the call that opens the file, since nothing is read-only to root.
Other checkpoints are damaged once they are written, or lose the file that names the last one.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from soak_kills import kills
from soak_predictions import predictions
from soak_ray import nodes
from soak_restarts import restarts
from soak_writes import writes

from tood_d2.cli.messages import short_errors

NUMBERS = {
    "images": "to detect in",
    "iterations": "of a run",
    "kills": "in all",
    "seed": "of what happens when",
    "writes": "in all",
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = partial(_add, commands)
    add("kills", kills, "kill training at random and resume it", kills=20, iterations=40)
    add("restarts", restarts, "kill processes of torchrun at random", kills=20, iterations=40)
    add("writes", writes, "let writing of checkpoints fail", writes=200)
    add("predictions", predictions, "kill tools/predict.py at random", kills=20, images=60)
    add("ray", nodes, "kill a Ray node while tools/predict.py detects", kills=1, images=500)
    args = parser.parse_args()
    with short_errors(parser.prog), tempfile.TemporaryDirectory(prefix="soak-") as folder:
        return args.run(args, Path(folder))


def _add(commands, name: str, run: Callable, help: str, **numbers: int) -> None:
    """Adds a command with options for its numbers, by their defaults."""
    command = commands.add_parser(name, help=help)
    command.set_defaults(run=run)
    for option, default in (numbers | {"seed": 0}).items():
        text = f"{NUMBERS[option]} ({default})"
        command.add_argument(f"--{option}", type=int, default=default, help=text)


if __name__ == "__main__":
    sys.exit(main())
