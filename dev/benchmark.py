#!/usr/bin/env python
"""Compares the time and memory of detectors in one run.

benchmark.py inference configs/tood_R_50_FPN_1x.py COCO-Detection/retinanet_R_50_FPN_1x.py
benchmark.py inference configs/tood_R_50_FPN_1x.py "configs/tood_R_50_FPN_1x.py --optimize"
benchmark.py training configs/tood_R_50_FPN_1x.py --batches 2 4 8 --plot training.png
benchmark.py assignment configs/tood_R_50_FPN_1x.py \\
    "configs/tood_R_50_FPN_1x.py model.assigner.topk=9" --objects 10 100 1000

A CONFIG is a .py or .yaml file or a name of detectron2.model_zoo; in inference also a file of
tools/export_model.py. In quotes, overrides key=value
(of YAML configs, too) and options for this config alone may follow, so that it can take part
several times; given twice as it is, it shows how far the measurement can be trusted.

All models are in memory together and take turns: after a warm-up, each round times each of them
once, on inputs that lie on the device already. Weights are random, whatever the config says. Time
does not depend on them, except that of post-processing: of an untrained detector few boxes or
none pass the score threshold. For postprocessing alone, class scores are therefore made up.

"ratio" is the median time divided by that of the first config, "paired ratio" the median of this
quotient in each round. Memory, measured in calls of its own, is the peak beyond what was in use
before the call, which the weights were. GFLOPs are those of convolutions and matrix products, a
multiplication with its addition counts 2. They are compared with the rate of a product of two
square matrices on this device in this run.
"""

import argparse
import itertools
import json
import logging
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from benchmarking import (
    Measurement,
    Point,
    Workload,
    add_contender_options,
    build_workloads,
    compare,
    describe_machine,
    draw,
    format_conditions,
    format_table,
    format_value,
    load_contenders,
    matrix_rate,
    num_steps,
    summarize,
)
from matplotlib.figure import Figure
from tqdm import tqdm

from tood_d2.cli.messages import short_errors

COMMANDS = {
    "inference": "from images to detections",
    "training": "one step: forward pass, losses, backward pass, update; TOOD learns task alignment",
    "assignment": "ground truth to anchors, by the config's model.assigner alone",
    "postprocessing": "from the dense predictions of an image to detections",
}
SWEPT = {
    "inference": ["size", "batch"],
    "training": ["size", "batch", "objects"],
    "assignment": ["size", "objects"],
    "postprocessing": ["size"],
}
COUNTED = ("inference", "training")  # that consist of convolutions, above all
MIN_SIZE = 16  # pixels


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of "800x1344"."""
    try:
        height, width = (int(x) for x in text.split("x"))
    except ValueError:
        height = width = 0
    if min(height, width) < MIN_SIZE:
        raise argparse.ArgumentTypeError(
            f"{text!r} should be HEIGHTxWIDTH, like 800x1344, of at least {MIN_SIZE} pixels each"
        )
    return height, width


def parse_count(text: str, lowest: int = 1) -> int:
    """An integer from the lowest one on."""
    if not text.isdecimal() or int(text) < lowest:
        raise argparse.ArgumentTypeError(f"{text!r} should be an integer from {lowest} on")
    return int(text)


def find_device(name: str | None) -> torch.device:
    """The device of a name, by default a GPU if there is one.

    Raises:
        ValueError: unless it can be used.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"--device {name}: no such device") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"--device should be cpu or cuda, not {name}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"--device {name}: no such GPU is available")
    return device


def check_outputs(json_file: str | None, plot_file: str | None) -> None:
    """Raises an error now if it would come after hours of measuring."""
    for path in filter(None, (json_file, plot_file)):
        if not os.path.isdir(os.path.dirname(path) or "."):
            raise NotADirectoryError(f"{path}: its folder does not exist")
    suffixes = Figure().canvas.get_supported_filetypes()
    if plot_file and Path(plot_file).suffix[1:] not in suffixes:
        raise ValueError(f"--plot {plot_file} should end in .png or .{', .'.join(suffixes)}")


def list_points(args: argparse.Namespace) -> list[Point]:
    """All combinations of what is swept."""
    names = SWEPT[args.command]
    values = itertools.product(*(getattr(args, name) for name in names))
    return [Point(**dict(zip(names, x, strict=True))) for x in values]


def run(args: argparse.Namespace) -> int:
    """Measures the contenders at all points, prints the results and writes the files.

    Returns:
        1 if a contender failed at a point, else 0.
    """
    device = find_device(args.device)
    check_outputs(args.json, args.plot)
    if args.threads:
        torch.set_num_threads(args.threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    contenders = load_contenders(args.command, args, device)
    workloads = build_workloads(args.command, contenders, device, args.seed)

    dtypes = dict.fromkeys(x.dtype for x in contenders)
    rates = {dtype: matrix_rate(device, dtype, args.matrix_size) for dtype in dtypes}
    report = {"arguments": vars(args), "device": str(device), "machine": describe_machine(device)}
    report["matrix_rates"] = {str(dtype): rate for dtype, rate in rates.items()}
    report |= {"results": [], "failures": []}
    print(format_conditions(args.command, report), end="\n\n", flush=True)
    for point, measurements, errors in measure(args, workloads, device):
        rates_by_name = {x.name: rates[x.dtype] for x in contenders}
        report["results"] += summarize(point, measurements, rates_by_name, contenders[0].name)
        for name, error in errors.items():
            report["failures"].append({"contender": name, **point._asdict(), "error": error})
        if args.json:
            Path(args.json).write_text(json.dumps(report, indent=1))
    if report["results"]:
        print(format_table(report["results"], SWEPT[args.command]))
        if args.plot:
            draw(report["results"], SWEPT[args.command]).savefig(args.plot)
    return 1 if report["failures"] else 0


def measure(
    args: argparse.Namespace, workloads: dict[str, Workload], device: torch.device
) -> Iterator[tuple[Point, dict[str, Measurement], dict[str, str]]]:
    """Yields what :func:`compare` returns at each point, and says who failed there."""
    settings = {"rounds": args.rounds, "warmup": args.warmup}
    settings["with_flops"] = args.command in COUNTED
    points = list_points(args)
    total = len(points) * num_steps(len(workloads), **settings)
    with tqdm(total=total, unit="call", disable=None) as progress:  # silent unless in a terminal
        for point in points:
            makers = {name: partial(workload, point) for name, workload in workloads.items()}
            measurements, errors = compare(
                makers, device=device, on_step=progress.update, **settings
            )
            swept = SWEPT[args.command]
            place = ", ".join(f"{name} {format_value(getattr(point, name))}" for name in swept)
            for name, error in errors.items():
                tqdm.write(f"{name} failed at {place}: {error}", file=sys.stderr)
            yield point, measurements, errors


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=f"{summary}; see also {parser.prog} --help"
        )
        command.add_argument(
            "configs", nargs="+", metavar="CONFIG", help='file, name, or "file key=value ..."'
        )
        add_contender_options(command, name)
        _add_sweep(command, name)
        _add_common(command)
    return parser


def _add_sweep(command: argparse.ArgumentParser, name: str) -> None:
    size, objects = (800, 1344), [10, 100, 1000]
    if name == "training":
        size, objects = (800, 1333), [20]
    batch = [2 if name == "training" else 1]
    of_counts = {"nargs": "+", "type": parse_count, "metavar": "N"}
    command.add_argument(
        "--sizes",
        dest="size",
        nargs="+",
        type=parse_size,
        default=[size],
        metavar="HxW",
        help=f"heights and widths of images, in pixels ({format_value(size)})",
    )
    if "batch" in SWEPT[name]:
        command.add_argument(
            "--batches", dest="batch", default=batch, help=f"images ({batch[0]})", **of_counts
        )
    if "objects" in SWEPT[name]:
        text = f"ground-truth boxes of each image ({' '.join(map(str, objects))})"
        command.add_argument("--objects", default=objects, help=text, **of_counts)
    if name == "assignment":
        command.add_argument("--classes", type=parse_count, default=80, help="predicted (80)")


def _add_common(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--opts", nargs="+", default=[], metavar="KEY=VALUE", help="overrides for every config")
    add("--device", help="cpu or cuda (cuda if available)")
    add("--threads", type=parse_count, help="of PyTorch on the CPU")
    add("--rounds", type=parse_count, default=10, help="timed calls of each config (10)")
    add("--warmup", type=partial(parse_count, lowest=0), default=3, help="calls before those (3)")
    add("--seed", type=partial(parse_count, lowest=0), default=0, help="of weights and inputs (0)")
    add("--matrix-size", type=parse_count, help="for the rate (8192 on a GPU, 2048 on a CPU)")
    add("--json", metavar="FILE", help="for all results, each round's times included")
    add("--plot", metavar="FILE", help="for a figure of time and memory against what is swept")


def main() -> int:
    parser = _parser()
    args = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    # The device is the one of --device, whatever the config says.
    logging.getLogger("tood_d2.config.loading").setLevel(logging.ERROR)
    with short_errors(parser.prog):
        return run(args)


if __name__ == "__main__":
    sys.exit(main())
