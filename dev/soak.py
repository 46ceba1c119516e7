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
from pathlib import Path

from soak_kills import kills
from soak_predictions import predictions
from soak_ray import nodes
from soak_restarts import restarts
from soak_writes import writes

from tood_d2.cli.messages import short_errors


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
    command = commands.add_parser("restarts", help="kill processes of torchrun at random")
    command.set_defaults(run=restarts)
    command.add_argument("--kills", type=int, default=20, help="in all (20)")
    command.add_argument("--iterations", type=int, default=40, help="of a run (40)")
    _add_common(command)
    command = commands.add_parser("writes", help="let writing of checkpoints fail")
    command.set_defaults(run=writes)
    command.add_argument("--writes", type=int, default=200, help="in all (200)")
    _add_common(command)
    command = commands.add_parser("predictions", help="kill tools/predict.py at random")
    command.set_defaults(run=predictions)
    command.add_argument("--kills", type=int, default=20, help="in all (20)")
    command.add_argument("--images", type=int, default=60, help="to detect in (60)")
    _add_common(command)
    command = commands.add_parser("ray", help="kill a Ray node while tools/predict.py detects")
    command.set_defaults(run=nodes)
    command.add_argument("--kills", type=int, default=1, help="in all (1)")
    command.add_argument("--images", type=int, default=500, help="to detect in (500)")
    _add_common(command)
    args = parser.parse_args()
    with short_errors(parser.prog), tempfile.TemporaryDirectory(prefix="soak-") as folder:
        return args.run(args, Path(folder))


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, default=0, help="of what happens when (0)")


if __name__ == "__main__":
    sys.exit(main())
