from .voc import convert_voc
from .yolo import convert_yolo

__all__ = ["convert_voc", "convert_yolo"]
