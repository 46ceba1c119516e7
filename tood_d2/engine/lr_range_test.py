"""Looks for a learning rate by raising it step by step (arXiv 1506.01186, Sec. 3.3)."""

import tempfile
from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure

from detectron2.engine import HookBase

from ..config.run import Run
from .hooks.evaluation import StopTraining
from .seeding import SeedSteps
from .trainer import Trainer

_DIVERGED = 4  # times the lowest loss so far
_SMOOTHING = 0.04  # standard deviation of the smoothing kernel, as a share of the steps


def measure_losses(
    run: Run, lowest: float, highest: float, num_iters: int
) -> tuple[np.ndarray, np.ndarray]:
    """Trains for some steps with learning rates that rise exponentially. Leaves no files.

    Parameters that have a rate of their own keep its ratio to the run's.

    Args:
        run: its model, data, optimiser and seed are used.
        lowest, highest: learning rates of the first and the last step.
        num_iters: steps, fewer if the loss grows beyond measure.

    Returns:
        Learning rates and total losses of the steps.

    Raises:
        ValueError: if the range is none, or there are too few steps.
    """
    if not 0 < lowest < highest or num_iters < 20:
        raise ValueError(
            f"the learning rate cannot rise from {lowest:g} to {highest:g} in {num_iters} steps: "
            "it takes a range above 0 and at least 20 steps"
        )
    with tempfile.TemporaryDirectory() as folder:
        changes = {"output_dir": folder, "max_iter": num_iters, "max_nonfinite_steps": num_iters}
        if run.options.mosaic_prob or run.options.copy_paste_prob:
            changes["mosaic_close"] = 0.0
        trainer = _RangeTest(run.with_options(**changes).cfg)
        rising = _RisingRate(run.options.lr, np.geomspace(lowest, highest, num_iters))
        trainer.register_hooks([rising])
        trainer.resume_or_load(resume=False)
        trainer.train()
    return rising.rates[: len(rising.losses)], np.array(rising.losses)


class _RangeTest(Trainer):
    def build_hooks(self):
        return [SeedSteps(self.options.seed)]  # neither schedule, evaluation nor checkpoints


@dataclass(eq=False)
class _RisingRate(HookBase):
    run_rate: float
    rates: np.ndarray
    losses: list[float] = field(default_factory=list)

    def before_step(self):
        factor = self.rates[self.trainer.iter] / self.run_rate
        for group in self.trainer._trainer.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def after_step(self):
        if self.trainer._trainer.guard.num_steps:  # it left out a step that is not finite
            raise StopTraining
        self.losses.append(self.trainer.storage.latest()["total_loss"][0])
        if self.losses[-1] > _DIVERGED * min(self.losses):
            raise StopTraining


def smooth(losses: np.ndarray) -> np.ndarray:
    """Means of the losses (S,), weighted by a Gaussian about each step."""
    steps = np.arange(len(losses))
    distances = (steps[:, None] - steps) / max(1.0, _SMOOTHING * len(losses))
    weights = np.exp(-0.5 * distances**2)
    return weights @ losses / weights.sum(axis=1)


def suggest_rate(rates: np.ndarray, losses: np.ndarray) -> float:
    """Half of the rate at which the smoothed loss is lowest.

    On two small data sets that is the largest rate that trained well on both, see
    docs/training.md. A schedule with warm-up should peak there.

    Args:
        rates, losses: (S,) of the steps.

    Raises:
        ValueError: if the loss never falls, or does so until the end.
    """
    best = smooth(losses).argmin() if len(losses) else 0
    if best == 0:
        raise ValueError(
            f"the loss does not fall from a learning rate of {rates[0]:g} on: try a lower --lowest"
        )
    if best == len(losses) - 1:
        raise ValueError(
            f"the loss still falls at a learning rate of {rates[best]:g}: try a higher --highest"
        )
    return float(rates[best] / 2)


def draw_losses(rates: np.ndarray, losses: np.ndarray, suggested: float) -> Figure:
    """Draws the loss over the learning rate, (S,) each, and the suggestion."""
    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    ax = figure.subplots()
    ax.semilogx(rates, losses, color="0.75", label="of each step")
    ax.semilogx(rates, smooth(losses), label="smoothed")
    ax.axvline(suggested, color="tab:red", linestyle="--", label=f"suggestion: {suggested:.1e}")
    ax.set(xlabel="learning rate", ylabel="total loss")
    ax.grid(alpha=0.3)
    ax.legend()
    return figure
