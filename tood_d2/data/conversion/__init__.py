"""Data as labelling tools write it, in COCO's form."""

from .recognition import Source, convert_any
from .voc import convert_voc
from .yolo import convert_yolo

__all__ = ["Source", "convert_any", "convert_voc", "convert_yolo"]
