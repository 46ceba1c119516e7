"""AP, precision-recall curves, confusion matrix."""

from .coco_evaluator import IllustratedCOCOEvaluator, coco_results

__all__ = ["IllustratedCOCOEvaluator", "coco_results"]
