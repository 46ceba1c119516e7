#!/usr/bin/env python
"""Prints a table of training runs: box AP, time, and task alignment where it was measured.

Task alignment is taken from what analyze_alignment.py wrote into the folder "alignment" of the run.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

AP = ("AP", "AP50", "AP75")
ALIGNMENT = ("pcc", "iou", "correct", "redundant", "error")
FORMATS = dict.fromkeys(AP, ".1f") | dict.fromkeys(("s / iteration", "PCC", "IoU"), ".3f")


def read_run(output_dir: str | Path) -> dict[str, float]:
    """Reads the last evaluation and the median time from the ``metrics.json`` of a run.

    Returns:
        ``AP``, ``AP50`` and ``AP75`` in percent, ``s / iteration`` if there were any, and the
        columns of Table 6 if ``alignment/alignment.json`` is there.

    Raises:
        FileNotFoundError: if the folder has no ``metrics.json``.
        ValueError: if that file has no box AP or one of the two is damaged.
    """
    path = Path(output_dir) / "metrics.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, has the training run?")
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{path} has a broken line: {error}") from error
    evaluations = [x for x in lines if "bbox/AP" in x]
    if not evaluations:
        raise ValueError(f"{path} has no box AP, has the training ended with an evaluation?")
    run = {name: evaluations[-1]["bbox/" + name] for name in AP}
    if times := [x["time"] for x in lines if "time" in x]:
        run["s / iteration"] = statistics.median(times)
    path = Path(output_dir) / "alignment" / "alignment.json"
    if path.is_file():
        try:
            summary = json.loads(path.read_text())
            found = {x: summary[x] for x in ALIGNMENT if summary[x] is not None}
        except (KeyError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is not what analyze_alignment.py writes: {error!r}"
            ) from error
        run |= {{"pcc": "PCC", "iou": "IoU"}.get(x, x): value for x, value in found.items()}
    return run


def format_table(runs: dict[str, dict[str, float]]) -> str:
    """Markdown with a row for each run; the last one is the mean, if there are several."""
    columns = list(dict.fromkeys(name for run in runs.values() for name in run))
    if len(runs) > 1:
        shared = [name for name in columns if all(name in run for run in runs.values())]
        mean = {name: statistics.mean(run[name] for run in runs.values()) for name in shared}
        runs = runs | {"mean": mean}
    rows = [["run", *columns], ["---"] * (1 + len(columns))]
    for name, run in runs.items():
        cells = [format(run[x], FORMATS.get(x, ".0f")) if x in run else "–" for x in columns]
        rows.append([name, *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output_dirs", nargs="+", help="output folders of train_net.py")
    parser.add_argument("--at-least", type=float, metavar="AP", help="fail if mean AP is lower")
    args = parser.parse_args()
    try:
        runs = {path: read_run(path) for path in args.output_dirs}
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print(format_table(runs))
    mean_ap = statistics.mean(run["AP"] for run in runs.values())
    # NaN, the AP of no objects at all, is not at least anything.
    if args.at_least is not None and not mean_ap >= args.at_least:
        print(f"{parser.prog}: AP {mean_ap:.1f} is below {args.at_least:g}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
