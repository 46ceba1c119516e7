"""Schedules that fit another batch size or length than the config was written for."""

import logging
import math

from .run import Run

logger = logging.getLogger(__name__)

# Lengths in iterations. The learning rate of a LazyConfig is relative to the length of training.
_LENGTHS = (
    "max_iter",
    "steps",
    "warmup_iters",
    "eval_period",
    "checkpoint_period",
    "initial_phase_iters",
)

# What training needs, and what would stop the machine instead.
_RANGES = {
    "max_iter": (1, 2**31 - 1),
    "lr": (0, 2**16),
    "eval_period": (0, 2**31 - 1),
    "batch_size": (1, 2**16),
    "num_workers": (0, 2**10),
    "seed": (-1, 2**63 - 2**16),
}


def effective_batch_size(run: Run) -> int:
    """Images that make one step of the optimiser, over all processes."""
    return run.options.batch_size * run.options.gradient_accumulation


def fit_schedule(run: Run) -> Run:
    """Scales the schedule of a run, and logs what changes.

    With the option ``scale_schedule`` the learning rate is multiplied by the ratio of the batch
    size to ``reference_batch_size``, and all lengths in iterations are divided by it: those of
    training, of the initial phase, of warm-up, the steps, and the periods of evaluation and
    checkpoints (arXiv 1706.02677, Sec. 2.1). Then ``epochs``, if given, stretches all these lengths
    alike, other than those that the user gave on the command line. In a config that has ``epochs``,
    a ``max_iter`` from the command line takes their place.

    The result has both switched off, so that it is not scaled twice.

    Raises:
        ValueError: on options out of range.
    """
    options, changes = run.options, {}
    for name, (least, most) in _RANGES.items():
        value = getattr(options, name)
        if not least <= value <= most and not (name == "max_iter" and options.epochs):
            hint = "; --eval-only evaluates without training" if name == "max_iter" else ""
            key = run.key(name)
            raise ValueError(f"{key} should be from {least} to {most}, not {value}{hint}")
    batch_size = effective_batch_size(run)
    world_size_key = "SOLVER.REFERENCE_WORLD_SIZE"
    if run.get(world_size_key):
        raise ValueError(
            f"{world_size_key} leaves the initial phase as it is: set it to 0 and "
            f"{run.key('batch_size')} to the batch size of all processes, with "
            f"{run.key('scale_schedule')} True"
        )
    lengths = {name: getattr(options, name) for name in _LENGTHS if run.key(name)}
    shrink = options.reference_batch_size / batch_size if options.scale_schedule else 1
    if options.scale_schedule:
        changes |= {"lr": options.lr / shrink, "scale_schedule": False}
        lengths = {name: _scale(length, shrink) for name, length in lengths.items()}
    if options.epochs is not None:
        written = run.overridden.get(run.key("max_iter"), options.max_iter)
        if not _max_iter_instead_of_epochs(run):
            iterations = math.ceil(options.epochs * len(run.training_dicts()) / batch_size)
            lengths["max_iter"] = max(iterations, _scale(options.min_iter, shrink))
        factor = lengths["max_iter"] / max(_scale(written, shrink), 1)
        for name, length in lengths.items():
            if name != "max_iter" and run.key(name) not in run.overridden:
                lengths[name] = _scale(length, factor)
        changes |= {"epochs": None, "min_iter": 0}
    changes = {k: x for k, x in (changes | lengths).items() if x != getattr(options, k)}
    if changes:
        lines = [f"  {run.key(x)}: {getattr(options, x)} -> {new}" for x, new in changes.items()]
        logger.info(f"Schedule for {batch_size} images per step:\n" + "\n".join(lines))
    return run.with_options(**changes) if changes else run


def _max_iter_instead_of_epochs(run: Run) -> bool:
    given = run.overridden
    return run.key("max_iter") in given and run.key("epochs") not in given


def _scale(length: int | tuple[int, ...], factor: float) -> int | tuple[int, ...]:
    """A length, or steps, times a factor; 0 and -1, which stand for off and always, stay."""
    if isinstance(length, tuple):
        # Where LazyConfig's relative milestones come to lie.
        return tuple(max(1, math.ceil(x * factor - 1e-6)) for x in length)
    return max(1, round(length * factor)) if length > 0 else length
