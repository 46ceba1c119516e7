#!/usr/bin/env python
"""Prints the box AP of the last evaluation in a training run's output folder."""

import argparse
import json
import sys
from pathlib import Path


def last_evaluation(output_dir: str | Path) -> dict[str, float]:
    """Reads the last line with a box AP from the ``metrics.json`` of Detectron2's training.

    Returns:
        All metrics of that line; those of boxes are ``bbox/AP`` and so on, in percent.

    Raises:
        FileNotFoundError: if the folder has no ``metrics.json``.
        ValueError: if the file has no box AP or is damaged.
    """
    path = Path(output_dir) / "metrics.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, has the training run?")
    for line in reversed(path.read_text().splitlines()):
        try:
            metrics = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path} has a broken line: {error}") from error
        if "bbox/AP" in metrics:
            return metrics
    raise ValueError(f"{path} has no box AP, has the training ended with an evaluation?")


def main() -> int | str:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output_dir", help="output folder of train_net.py")
    parser.add_argument("--at-least", type=float, metavar="AP", help="fail if AP is lower")
    args = parser.parse_args()
    try:
        metrics = last_evaluation(args.output_dir)
    except (OSError, ValueError) as error:
        return f"report_ap.py: {error}"
    print(", ".join(f"{name} {metrics['bbox/' + name]:.1f}" for name in ("AP", "AP50", "AP75")))
    # NaN, the AP of no objects at all, is not at least anything.
    if args.at_least is not None and not metrics["bbox/AP"] >= args.at_least:
        return f"report_ap.py: AP is below {args.at_least:g}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
