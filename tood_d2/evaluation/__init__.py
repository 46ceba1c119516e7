from .coco_evaluator import IllustratedCOCOEvaluator
from .coco_results import coco_results

__all__ = ["IllustratedCOCOEvaluator", "coco_results"]
