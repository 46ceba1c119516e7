from .coco_evaluator import IllustratedCOCOEvaluator
from .coco_results import coco_results
from .lazy_evaluation import evaluate

__all__ = [
    "IllustratedCOCOEvaluator",
    "coco_results",
    "evaluate",
]
