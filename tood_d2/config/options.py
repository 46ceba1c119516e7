"""The options of a training run, read from a config of either kind."""

import importlib
from dataclasses import dataclass, fields

import torch
from omegaconf import DictConfig

from detectron2.config import CfgNode

from .loading import get_key

AMP_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}

KEYS = {
    "output_dir": ("train.output_dir", "OUTPUT_DIR"),
    "seed": ("train.seed", "SEED"),
    "max_iter": ("train.max_iter", "SOLVER.MAX_ITER"),
    "checkpoint_period": ("train.checkpointer.period", "SOLVER.CHECKPOINT_PERIOD"),
    "max_to_keep": ("train.checkpointer.max_to_keep", "SOLVER.CHECKPOINTS_TO_KEEP"),
    "eval_period": ("train.eval_period", "TEST.EVAL_PERIOD"),
    "log_period": ("train.log_period", None),
    "gradient_accumulation": ("train.gradient_accumulation", "SOLVER.GRADIENT_ACCUMULATION"),
    "max_nonfinite_steps": ("train.max_nonfinite_steps", "SOLVER.MAX_NONFINITE_STEPS"),
    "amp_enabled": ("train.amp.enabled", "SOLVER.AMP.ENABLED"),
    "amp_dtype": ("train.amp.dtype", "SOLVER.AMP.DTYPE"),
    "channels_last": ("train.channels_last", "SOLVER.CHANNELS_LAST"),
    "compile_head": ("train.compile_head", "SOLVER.COMPILE_HEAD"),
    "ema_enabled": ("train.ema.enabled", "SOLVER.EMA.ENABLED"),
    "ema_decay": ("train.ema.decay", "SOLVER.EMA.DECAY"),
    "best_checkpoint": ("train.best_checkpoint", "TEST.BEST_CHECKPOINT"),
    "early_stopping": ("train.early_stopping", "TEST.EARLY_STOPPING"),
    "validation_loss": ("train.validation_loss", "TEST.VALIDATION_LOSS"),
    "num_pictures": ("train.num_pictures", "TEST.NUM_PICTURES"),
    "wandb_project": ("train.wandb_project", "WANDB_PROJECT"),
}
"""The keys of each option in a LazyConfig and in a YAML config."""


@dataclass(frozen=True)
class TrainingOptions:
    """Options with their values where a config, say of another project, has no such key."""

    output_dir: str
    max_iter: int
    seed: int = -1
    checkpoint_period: int = 5000
    max_to_keep: int = 100
    eval_period: int = 0
    log_period: int = 20
    gradient_accumulation: int = 1
    """Batches whose gradients make one step of the optimiser."""
    max_nonfinite_steps: int = 0
    """Steps without finite losses and gradients that are left out before training ends."""
    amp_enabled: bool = False
    amp_dtype: str = "float16"
    channels_last: bool = False
    """Whether channels are next to each other in memory."""
    compile_head: bool = False
    """Whether ``model.head`` is compiled, for maps of any size."""
    ema_enabled: bool = False
    ema_decay: float = 0.9998
    best_checkpoint: bool = True
    early_stopping: int = 0
    """Evaluations without a better AP after which training ends, 0 for never."""
    validation_loss: bool = False
    num_pictures: int = 0
    """Test images whose detections are drawn at each evaluation."""
    wandb_project: str = ""

    def __post_init__(self):
        for field in fields(self):
            types = (int, float) if field.type is float else field.type
            fits = isinstance(getattr(self, field.name), types)
            self._check(field.name, fits, f"of type {field.type.__name__}")
        self._check("max_iter", self.max_iter >= 0, "at least 0")
        self._check("gradient_accumulation", self.gradient_accumulation >= 1, "at least 1")
        self._check("max_nonfinite_steps", self.max_nonfinite_steps >= 0, "at least 0")
        self._check("amp_dtype", self.amp_dtype in AMP_DTYPES, " or ".join(AMP_DTYPES))
        self._check("ema_decay", 0 <= self.ema_decay < 1, "at least 0 and below 1")
        self._check("checkpoint_period", self.checkpoint_period >= 1, "at least 1")
        self._check("max_to_keep", self.max_to_keep >= 1, "at least 1")
        self._check("early_stopping", self.early_stopping >= 0, "at least 0")
        self._check("num_pictures", self.num_pictures >= 0, "at least 0")
        self._check("log_period", self.log_period >= 1, "at least 1")
        for name in ("best_checkpoint", "eval_period"):
            rule = f"0 without {' or '.join(KEYS[name])}"
            self._check("early_stopping", self.early_stopping == 0 or getattr(self, name), rule)
        if self.wandb_project:
            try:
                importlib.import_module("wandb")
            except ImportError as error:
                keys = " or ".join(KEYS["wandb_project"])
                raise ValueError(f"{keys} needs the package wandb: pip install wandb") from error

    def _check(self, name: str, fulfilled: bool, rule: str) -> None:
        if not fulfilled:
            keys = " or ".join(filter(None, KEYS[name]))
            raise ValueError(f"{keys} should be {rule}, not {getattr(self, name)!r}")

    @classmethod
    def from_config(cls, cfg: CfgNode | DictConfig) -> "TrainingOptions":
        """Reads a config.

        Raises:
            ValueError: on values out of range, with their keys.
        """
        lazy = not isinstance(cfg, CfgNode)
        keys = {name: lazy_key if lazy else key for name, (lazy_key, key) in KEYS.items()}
        values = {name: get_key(cfg, key) for name, key in keys.items() if key}
        return cls(**{name: value for name, value in values.items() if value is not None})
