from .config import build_model, load_config
from .evaluation import evaluate
from .predictor import Predictor
from .training import Trainer, train

__all__ = ["Predictor", "Trainer", "build_model", "evaluate", "load_config", "train"]
