#!/usr/bin/env python
"""Compares the time and memory of detectors in one run.

benchmark.py inference configs/tood_R_50_FPN_1x.py COCO-Detection/retinanet_R_50_FPN_1x.py
benchmark.py inference configs/tood_R_50_FPN_1x.py "configs/tood_R_50_FPN_1x.py --optimize"
benchmark.py training configs/tood_R_50_FPN_1x.py --batches 2 4 8 --plot training.png
benchmark.py assignment configs/tood_R_50_FPN_1x.py \\
    "configs/tood_R_50_FPN_1x.py model.assigner.topk=9" --objects 10 100 1000

inference       from images to detections
training        one step: forward pass, losses, backward pass, update
assignment      ground truth of one image to anchors, by the model's assigner
postprocessing  from the dense predictions of one image to detections
preparation     from a JPEG file to the network's input
files           from JPEG files, one after the other, to detections, by exported models

A CONTENDER is a .py or .yaml file, a name of tood_d2.model_zoo or detectron2.model_zoo or, in
inference, a file of tools/export_model.py. In quotes, overrides key=value (of YAML configs, too)
and options may follow, so that a config can take part several times:
  --optimize     by tood_d2.optimize_for_inference
  --compile      the optimized model, anew for each point
  --requests N   inputs that OpenVINO has in work at once (1)
  --dtype TYPE   of the optimized model, else of autocast: bfloat16 or float16 (float32)
  --amp TYPE     the same for training: mixed precision
Given twice as it is, a contender shows how far the measurement can be trusted.

All models are in memory together and take turns: after the warm-up, each round times each of them
once, on inputs that lie on the device already. Weights are random, whatever the config says. Time
does not depend on them, except that of post-processing: of an untrained detector few boxes or
none pass the score threshold. For postprocessing alone, class scores are therefore made up.

"ratio" is the median time divided by that of the first contender. Memory, measured in calls of its
own, is the peak beyond what was in use before the call, which the weights were. GFLOPs are those
of the model as it is built, by dev/count_flops.py: a multiplication with its addition counts once.
"""

import argparse
import itertools
import json
import logging
import os
import sys
from functools import partial
from pathlib import Path

import torch
from benchmarking.contenders import parse_contenders
from benchmarking.measuring import compare, describe_machine
from benchmarking.report import draw, format_table, format_value, summarize
from benchmarking.workloads import WORKLOADS, Point

from tood_d2.cli.messages import describe, short_errors

SWEPT = {
    "inference": {"size": [(800, 1344)], "batch": [1]},
    "training": {"size": [(800, 1333)], "batch": [2], "objects": [20]},
    "assignment": {"size": [(800, 1344)], "objects": [10, 100, 1000]},
    "postprocessing": {"size": [(800, 1344)]},
    "preparation": {"size": [(960, 1280)]},
    "files": {"size": [(480, 640)], "batch": [64]},
}
"""What can be swept of each benchmark, with the values by default."""
MIN_SIZE = 16  # pixels


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of "800x1344"."""
    sides = text.split("x")
    if len(sides) != 2 or not all(x.isdecimal() and int(x) >= MIN_SIZE for x in sides):
        raise argparse.ArgumentTypeError(
            f"{text!r} should be HEIGHTxWIDTH, like 800x1344, of at least {MIN_SIZE} pixels each"
        )
    return int(sides[0]), int(sides[1])


def parse_count(text: str) -> int:
    """An integer from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} should be an integer from 1 on")
    return int(text)


def parse_device(text: str) -> torch.device:
    """A device that can be used."""
    try:
        return torch.zeros(1, device=text).device
    except (RuntimeError, AssertionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be used: {describe(error)}") from error


def parse_output(text: str) -> str:
    """Path of a file in a folder that exists, which would be noticed after hours of measuring."""
    if not os.path.isdir(os.path.dirname(text) or "."):
        raise argparse.ArgumentTypeError(f"the folder of {text!r} does not exist")
    return text


def run(args: argparse.Namespace) -> int:
    """Measures the contenders at all points, prints the results and writes the files.

    Returns:
        1 if a contender failed at a point, else 0.
    """
    device = args.device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.set_num_threads(args.threads or torch.get_num_threads())
    workloads = {}
    for contender in parse_contenders(args.contenders, device):
        try:
            workloads[contender.name] = WORKLOADS[args.command](contender)
        except Exception as error:  # the model may be anyone's
            raise ValueError(f"{contender.name}: {describe(error)}") from error
    first = next(iter(workloads))

    report = {"command": args.command, "device": str(device), "machine": describe_machine(device)}
    report |= {"results": [], "failures": []}
    print(f"{args.command} on {device}")
    print(", ".join(f"{name}: {value}" for name, value in report["machine"].items()), flush=True)
    swept = {key: getattr(args, key) or values for key, values in SWEPT[args.command].items()}
    for values in itertools.product(*swept.values()):
        point = Point(**dict(zip(swept, values, strict=True)))
        makers = {name: partial(workload, point) for name, workload in workloads.items()}
        results, errors = compare(makers, rounds=args.rounds, warmup=args.warmup, device=device)
        report["results"] += summarize(point, results, first)
        place = ", ".join(f"{key} {format_value(getattr(point, key))}" for key in swept)
        for name, error in errors.items():
            report["failures"].append({"contender": name, **point._asdict(), "error": error})
            print(f"{name} failed at {place}: {error}", file=sys.stderr)
        if args.json:
            Path(args.json).write_text(json.dumps(report, indent=1))
    if report["results"]:
        print(format_table(report["results"], list(swept)))
        if args.plot:
            draw(report["results"], list(swept)).savefig(args.plot, format="png")
    return 1 if report["failures"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("command", choices=list(WORKLOADS), metavar="COMMAND", help=", ".join(WORKLOADS))
    add("contenders", nargs="+", metavar="CONTENDER", help='file, name, or "file key=value ..."')
    counts = {"nargs": "+", "type": parse_count, "metavar": "N"}
    add("--sizes", dest="size", nargs="+", type=parse_size, metavar="HxW",
        help="heights and widths of images, in pixels (800x1344, training 800x1333)")  # fmt: skip
    add("--batches", dest="batch", help="images: inference (1), training (2)", **counts)
    add("--objects", help="of each image: training (20), assignment (10 100 1000)", **counts)
    add("--device", type=parse_device, help="cpu or cuda (cuda if available)")
    add("--threads", type=parse_count, help="of PyTorch on the CPU")
    add("--rounds", type=parse_count, default=10, help="timed calls of each contender, each after "
        "an untimed one (10)")  # fmt: skip
    add("--warmup", type=parse_count, default=1, help="calls before those (1)")
    add(
        "--json",
        type=parse_output,
        metavar="FILE",
        help="for all results, each round's times included",
    )
    add(
        "--plot",
        type=parse_output,
        metavar="FILE",
        help="PNG for a figure of time and memory against what is swept",
    )
    return parser


def main() -> int:
    parser = _parser()
    args = parser.parse_args()
    for key, option in (("batch", "--batches"), ("objects", "--objects")):
        if getattr(args, key) and key not in SWEPT[args.command]:
            parser.error(f"{option} is not for {args.command}")
    # The device is the one of --device, whatever the config says.
    logging.getLogger("tood_d2.config.loading").setLevel(logging.ERROR)
    with short_errors(parser.prog):
        return run(args)


if __name__ == "__main__":
    sys.exit(main())
