"""What those who run an exported model have to know."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Metadata:
    """Of an exported detector."""

    class_names: list[str]
    category_ids: list[int]
    """Of the classes in their data set."""
    input_format: str
    """Order of the channels, "RGB" or "BGR", or "L" for grey."""
    size_divisibility: int
    """Height and width of the input are multiples of it; padding is to the right and below."""
    short_edge_length: int
    """Length that the shorter side of an image is resized to, in pixels, ..."""
    max_size: int
    """... unless the longer one becomes longer than this."""
    score_thresh: float
    """Detections need a larger score."""
    nms_thresh: float
    """IoU above which NMS suppresses, within a class."""
    max_detections: int
    """Detections of an image at most."""
    has_nms: bool
    """Whether the model's outputs are detections, or candidates of NMS."""

    @property
    def square(self) -> int:
        """Side of the only input that there is, as all images are padded to it; 0 if any may be."""
        return self.size_divisibility if self.max_size <= self.size_divisibility else 0

    def to_properties(self) -> dict[str, str]:
        """Text by name, as ONNX keeps it: each value is JSON."""
        return {name: json.dumps(value) for name, value in asdict(self).items()}

    @classmethod
    def from_properties(cls, properties: Mapping[str, str]) -> "Metadata":
        """The inverse of :meth:`to_properties`.

        Raises:
            ValueError: if one is missing or no JSON.
        """
        names = cls.__dataclass_fields__
        missing = [name for name in names if name not in properties]
        if missing:
            raise ValueError(f"no model of tood_d2: its metadata have no {', '.join(missing)}")
        return cls(**{name: json.loads(properties[name]) for name in names})
