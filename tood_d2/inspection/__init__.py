from .image_analysis import ImageAnalysis

__all__ = ["ImageAnalysis"]
