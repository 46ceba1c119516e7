"""Task alignment and the inside of the head, in numbers and figures."""

from .image_analysis import ImageAnalysis

__all__ = ["ImageAnalysis"]
