"""Training: the trainer, its step, its hooks."""

from .seeding import with_seed
from .trainer import Trainer

__all__ = ["Trainer", "with_seed"]
