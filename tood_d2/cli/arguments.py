"""Arguments that programs share."""

import argparse


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Adds ``--opts``, the overrides of a config, which end the command line."""
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        help="config overrides: train.init_checkpoint=FILE, or MODEL.WEIGHTS FILE for YAML",
    )
