"""Schedules that fit another batch size or length than the config was written for."""

import logging
import math

from omegaconf import DictConfig, OmegaConf

from detectron2.config import CfgNode

from .loading import get_key
from .options import TrainingOptions

logger = logging.getLogger(__name__)

# Keys of lengths in iterations. The milestones of a LazyConfig are relative to its length.
_LAZY_LENGTHS = (
    "train.max_iter",
    "train.eval_period",
    "train.checkpointer.period",
    "model.initial_phase_iters",
)
_YAML_LENGTHS = (
    "SOLVER.MAX_ITER",
    "SOLVER.STEPS",
    "SOLVER.WARMUP_ITERS",
    "SOLVER.CHECKPOINT_PERIOD",
    "TEST.EVAL_PERIOD",
    "MODEL.TOOD.INITIAL_PHASE.ITERS",
)


class _Keys:
    """Reads and writes a config of either kind by dotted keys, and remembers what it changed."""

    def __init__(self, cfg: CfgNode | DictConfig):
        self.cfg = cfg
        self.is_lazy = not isinstance(cfg, CfgNode)
        self.changes: dict[str, tuple] = {}

    def get(self, key: str):
        return get_key(self.cfg, key)

    def set(self, key: str, value) -> None:
        old = self.get(key)
        if old == value:
            return
        self.changes[key] = (self.changes.get(key, (old,))[0], value)
        if self.is_lazy:
            OmegaConf.update(self.cfg, key, value)
        else:
            self.cfg.merge_from_list([key, value])

    def scale_lengths(self, factor: float) -> None:
        for key in _LAZY_LENGTHS if self.is_lazy else _YAML_LENGTHS:
            old = self.get(key)
            if isinstance(old, tuple):
                # Where LazyConfig's relative milestones come to lie.
                self.set(key, tuple(max(1, math.ceil(x * factor - 1e-6)) for x in old))
            elif old is not None and old > 0:  # neither off nor always
                self.set(key, max(1, round(old * factor)))


def effective_batch_size(cfg: CfgNode | DictConfig) -> int:
    """Images that make one step of the optimiser, over all processes.

    Raises:
        ValueError: on a batch without images, or other options out of range.
    """
    lazy = not isinstance(cfg, CfgNode)
    key = "dataloader.train.total_batch_size" if lazy else "SOLVER.IMS_PER_BATCH"
    batch_size = get_key(cfg, key)
    if batch_size < 1:
        raise ValueError(f"{key} should be at least 1, not {batch_size}")
    return batch_size * TrainingOptions.from_config(cfg).gradient_accumulation


def fit_schedule(cfg: CfgNode | DictConfig, count_images) -> None:
    """Scales a config's schedule in place, and logs what changes.

    With ``train.scale_schedule`` (YAML: ``SOLVER.SCALE_SCHEDULE``) the learning rate is multiplied
    by the ratio of the batch size to ``train.reference_batch_size``, and all lengths in iterations
    are divided by it: those of training, of the initial phase, of warm-up, the steps, and the
    periods of evaluation and checkpoints (arXiv 1706.02677, Sec. 2.1). Then ``train.epochs``, if
    given, stretches all these lengths alike.

    The result has both switched off, so that it is not scaled twice.

    Args:
        cfg: of either kind.
        count_images: called, without arguments, for the number of training images.

    Raises:
        ValueError: without any epochs, on a reference batch size below 1, or on other options
            out of range.
    """
    keys = _Keys(cfg)
    node = "train.{}" if keys.is_lazy else "SOLVER.{}"
    switch, reference_key, epochs_key = (
        node.format(name if keys.is_lazy else name.upper())
        for name in ("scale_schedule", "reference_batch_size", "epochs")
    )
    if not keys.is_lazy and cfg.SOLVER.REFERENCE_WORLD_SIZE:
        raise ValueError(
            "SOLVER.REFERENCE_WORLD_SIZE leaves the initial phase as it is: set it to 0 and "
            f"SOLVER.IMS_PER_BATCH to the batch size of all processes, with {switch} True"
        )
    batch_size = effective_batch_size(cfg)
    if keys.get(switch):
        reference = keys.get(reference_key)
        if reference < 1:
            raise ValueError(f"{reference_key} should be at least 1, not {reference}")
        factor = batch_size / reference
        lr_key = "optimizer.lr" if keys.is_lazy else "SOLVER.BASE_LR"
        keys.set(lr_key, keys.get(lr_key) * factor)
        keys.scale_lengths(1 / factor)
        keys.set(switch, False)
    epochs = keys.get(epochs_key)
    if epochs is not None:
        if not epochs > 0:
            raise ValueError(f"{epochs_key} should be above 0, not {epochs}")
        max_iter_key = "train.max_iter" if keys.is_lazy else "SOLVER.MAX_ITER"
        max_iter = math.ceil(epochs * count_images() / batch_size)
        keys.scale_lengths(max_iter / keys.get(max_iter_key))
        keys.set(max_iter_key, max_iter)
        keys.set(epochs_key, None)
    if keys.changes:
        changes = "\n".join(f"  {key}: {old} -> {new}" for key, (old, new) in keys.changes.items())
        logger.info(f"Schedule for {batch_size} images per step:\n{changes}")
