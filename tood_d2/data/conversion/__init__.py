from .labelled_images import Conversion
from .voc import convert_voc
from .yolo import convert_yolo

__all__ = ["Conversion", "convert_voc", "convert_yolo"]
