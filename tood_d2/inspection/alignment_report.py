"""The paper's Table 6 for a detector: measured, as a table and as a figure."""

from collections.abc import Iterable

import torch
from matplotlib.figure import Figure
from torch import nn
from tqdm import tqdm

from ..inference.dense_predictions import dense_predictions
from .alignment import AlignmentEvaluator

COLUMNS = {
    "pcc": "PCC (top-50)",
    "iou": "IoU (top-10)",
    "correct": "#Correct boxes",
    "redundant": "#Redundant boxes",
    "error": "#Error boxes",
    "num_instances": "#Instances",
}
MAX_POINTS = 5000


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


def draw_alignment(evaluator: AlignmentEvaluator, summary: dict) -> Figure:
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
