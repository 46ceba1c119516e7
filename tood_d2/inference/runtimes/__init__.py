"""Exported models: one class for each runtime that runs them."""

from .exported import ExportedDetector
from .loading import ExportedPredictor, load_exported
from .metadata import Metadata

__all__ = ["ExportedDetector", "ExportedPredictor", "Metadata", "load_exported"]
