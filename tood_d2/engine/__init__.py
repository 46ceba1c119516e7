from .hooks.seeding import fix_seed
from .trainer import Trainer, train

__all__ = [
    "Trainer",
    "fix_seed",
    "train",
]
