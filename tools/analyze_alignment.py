#!/usr/bin/env python
"""Measures how well a detector's classification and localisation agree (Table 6 of the paper).

analyze_alignment.py --config-file configs/tood_R_50_FPN_1x.py \
    --opts train.init_checkpoint=tood://tood_R_50_FPN_1x
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable

import torch
from matplotlib.figure import Figure
from torch import nn
from tqdm import tqdm

from detectron2.data import build_detection_test_loader
from detectron2.utils.logger import setup_logger
from tood_d2.checkpoint import load_weights, weights_of
from tood_d2.cli.arguments import add_overrides
from tood_d2.cli.messages import short_errors
from tood_d2.config import annotated_test_data, build_model, load_config
from tood_d2.inference import check_supported, dense_predictions
from tood_d2.inspection import AlignmentEvaluator

COLUMNS = {
    "pcc": "PCC (top-50)",
    "iou": "IoU (top-10)",
    "correct": "#Correct boxes",
    "redundant": "#Redundant boxes",
    "error": "#Error boxes",
    "num_instances": "#Instances",
}
MAX_POINTS = 5000


def load(config_file: str, opts: list[str]) -> tuple[nn.Module, Iterable[list[dict]]]:
    """The trained model of a config and its test data, with ground truth."""
    cfg = load_config(config_file, opts)
    records, mapper = annotated_test_data(cfg)
    model = build_model(cfg)
    check_supported(model)
    load_weights(model, *weights_of(cfg))
    return model, build_detection_test_loader(records, mapper=mapper)


@torch.no_grad()
def analyze(model: nn.Module, loader: Iterable[list[dict]]) -> AlignmentEvaluator:
    """Runs the model over the data, twice: for its dense predictions and for its detections."""
    evaluator = AlignmentEvaluator()
    for batch in tqdm(loader, unit="batch"):
        # Without a size to scale them to, detections stay in pixels of the network input.
        images = [{"image": x["image"]} for x in batch]
        for predictions, output, sample in zip(
            dense_predictions(model, images), model(images), batch, strict=True
        ):
            evaluator.add(predictions, output["instances"], sample["instances"])
    return evaluator


def draw(evaluator: AlignmentEvaluator, summary: dict) -> Figure:
    """Left the instances' PCC, right the IoU of predictions against their score."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    pccs = [x for x in summary["instance_pcc"] if x is not None]
    left.hist(pccs, bins=40, range=(-1, 1))
    if pccs:
        left.axvline(summary["pcc"], color="black", label=f"mean {summary['pcc']:.3f}")
        left.legend()
    left.set(xlabel="PCC of the 50 most confident predictions", ylabel="instances")
    points = torch.cat([torch.zeros(0, 2), *(torch.stack(x, 1) for x in evaluator.instances)])
    chosen = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:MAX_POINTS]
    right.scatter(*points[chosen].T.numpy(), s=4, alpha=0.3, linewidths=0)
    right.set(xlabel="score", ylabel="IoU", xlim=(0, 1), ylim=(0, 1))
    return figure


def format_table(summary: dict) -> str:
    """The columns of Table 6 as Markdown."""
    cells = [summary[key] for key in COLUMNS]
    cells = ["–" if x is None else f"{x:.3f}" if isinstance(x, float) else str(x) for x in cells]
    rows = [COLUMNS.values(), ["---"] * len(COLUMNS), cells]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="config of any detector, .py or .yaml")
    parser.add_argument("--output", default="output/alignment", help="folder for the results")
    add_overrides(parser)
    args = parser.parse_args()
    for name in ("fvcore", "tood_d2"):
        setup_logger(name=name)
    with short_errors(parser.prog):
        os.makedirs(args.output, exist_ok=True)
        model, loader = load(args.config_file, args.opts)
    evaluator = analyze(model, loader)
    summary = evaluator.summarize()
    with open(os.path.join(args.output, "alignment.json"), "w") as f:
        json.dump(summary, f, indent=1)
    draw(evaluator, summary).savefig(os.path.join(args.output, "alignment.png"))
    print(format_table(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
