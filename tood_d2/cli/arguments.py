"""Arguments that programs share."""

import errno
import socket
from argparse import REMAINDER, ArgumentParser, Namespace, RawDescriptionHelpFormatter

DTYPES = ("auto", "float32", "bfloat16", "float16")


def add_config_arguments(parser: ArgumentParser, **config_file) -> None:
    """Adds ``--config-file``, ``--trust`` and ``--opts``; the last one ends the command line.

    Args:
        parser: to add to.
        config_file: options of ``add_argument`` for ``--config-file``: another help, required.
    """
    config_file = {"metavar": "FILE", "help": "config, .py or .yaml"} | config_file
    parser.add_argument("--config-file", **config_file)
    add_trust(parser)
    parser.add_argument(
        "--opts",
        nargs=REMAINDER,
        default=[],
        help="config overrides: train.init_checkpoint=FILE, or MODEL.WEIGHTS FILE for YAML",
    )


def training_argument_parser(epilog: str | None = None) -> ArgumentParser:
    """Detectron2's ``default_argument_parser``, without PyTorch, and a few arguments of ours.

    By default processes of one machine find a free port. ``--trust``, ``--timeout`` and
    ``--traceback`` are ours; :func:`.launch` takes the last two.
    """
    parser = ArgumentParser(epilog=epilog, formatter_class=RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config-file", default="", metavar="FILE", help="config, .py or .yaml")
    add_trust(parser)
    add("--resume", action="store_true", help="continue the run in the output folder")
    add("--eval-only", action="store_true", help="evaluate, do not train")
    add("--num-gpus", type=int, default=1, help="processes on each machine, a GPU for each (1)")
    add("--num-machines", type=int, default=1, help="number of machines (1)")
    add("--machine-rank", type=int, default=0, help="number of this machine, from 0 (0)")
    add(
        "--dist-url",
        default="auto",
        help="where processes meet: tcp://FIRST_MACHINE:PORT, or auto on one machine (auto)",
    )
    add(
        "--timeout",
        type=float,
        default=30,
        metavar="MINUTES",
        help="how long processes wait for one that does not answer (30)",
    )
    add("--traceback", action="store_true", help="show where an error comes from")
    add(
        "opts",
        nargs=REMAINDER,
        help="config overrides at the end: train.max_iter=9, or SOLVER.MAX_ITER 9 for YAML",
    )
    return parser


def add_address(parser: ArgumentParser, port: int) -> None:
    """Adds ``--host`` and ``--port`` of a server, by default one for this machine alone."""
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to serve; 0.0.0.0 lets other machines in")
    add("--port", type=int, default=port, help=f"port to serve (default: {port})")


def check_address(parser: ArgumentParser, args: Namespace) -> None:
    """Ends the program if what :func:`add_address` added cannot be served."""
    try:
        socket.create_server((args.host, args.port)).close()
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            parser.error(f"port {args.port} is taken: choose another one with --port")
        parser.error(f"--host {args.host} --port {args.port} cannot be served: {error}")


def add_trust(parser: ArgumentParser) -> None:
    """Adds ``--trust``, packages of the user's."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="package of your own whose classes a YAML config may call; can be given repeatedly",
    )


def add_ensemble(parser: ArgumentParser) -> None:
    """Adds ``--ensemble``, further models."""
    parser.add_argument(
        "--ensemble",
        action="append",
        default=[],
        metavar="DIR",
        help="output folder of another training, or a file of weights in one, to detect with, too, "
        "and to merge as train.merge or TEST.MERGE says; can be given repeatedly",
    )
