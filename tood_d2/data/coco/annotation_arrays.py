"""What content of COCO's form holds, as arrays.

N images, A annotations, K categories. Boxes are XYWH in pixels of their image.
"""

import contextlib
import math
import sys
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

# Smaller boxes and images are not trained on, as in the official code.
MIN_BOX_SIDE = 1  # pixels of the original image
MIN_IMAGE_SIDE = 32

_ID = (int, float, str)
# What the items of each list have at least, and the types that it can have.
# annotation_arrays() looks at the size of an image and the numbers of a box.
FIELDS = {
    "images": {"id": _ID, "file_name": (str,)},
    "annotations": {"id": _ID, "image_id": _ID, "category_id": _ID, "bbox": (list, tuple)},
    "categories": {"id": _ID, "name": (str,)},
}


class AnnotationArrays(NamedTuple):
    """The annotations of content in COCO's form."""

    boxes: np.ndarray  # (A, 4), not finite for whatever is no finite number
    image_rows: np.ndarray  # (A,) positions in the list of images, -1 for an unknown image
    category_rows: np.ndarray  # (A,) positions in the list of categories, -1 for an unknown one
    is_crowd: np.ndarray  # (A,) bool
    image_sizes: np.ndarray  # (N, 2) width and height in pixels, nan unless positive

    def box_image_sizes(self) -> np.ndarray:
        """(A, 2) width and height of each box's image; nan if they are not known."""
        return np.concatenate([self.image_sizes, [[np.nan, np.nan]]])[self.image_rows]

    def trainable(self) -> np.ndarray:
        """(A,) bool, the boxes that training uses, see :func:`.get_training_dicts`."""
        sizes = self.box_image_sizes()
        start, end = self.boxes[:, :2], self.boxes[:, :2] + self.boxes[:, 2:]
        with np.errstate(invalid="ignore"):
            visible = np.minimum(end, sizes) - np.maximum(start, 0) > 0
            large = (self.boxes[:, 2:] >= MIN_BOX_SIDE) & (sizes >= MIN_IMAGE_SIDE)
        finite = np.isfinite(self.boxes).all(axis=1)
        known = (self.image_rows >= 0) & (self.category_rows >= 0)
        return (visible & large).all(axis=1) & finite & known & ~self.is_crowd


def find_faults(items: list, fields: dict[str, tuple[type, ...]]) -> dict[int, str]:
    """Says what is wrong with items that lack a field, by their positions; fast if none does.

    Args:
        items: ``content[key]``.
        fields: ``FIELDS[key]``.
    """
    if set(map(type, items)) <= {dict} and all(
        {type(item.get(field)) for item in items} <= set(types) for field, types in fields.items()
    ):
        return {}
    return {i: text for i, item in enumerate(items) if (text := _fault(item, fields))}


def _fault(item: object, fields: dict[str, tuple[type, ...]]) -> str | None:
    if not isinstance(item, dict):
        return "is not an object with fields"
    if missing := [field for field in fields if field not in item]:
        return f"has no {', '.join(missing)}"
    for field, types in fields.items():
        if type(item[field]) not in types:
            return f"has {field} {item[field]!r}, which is no {types[-1].__name__}"
    return None


def annotation_arrays(content: dict) -> AnnotationArrays:
    """Reads the annotations of content without faults, at most some seconds for a million."""
    images, annotations = content["images"], content["annotations"]

    def rows(name: str, key: str) -> np.ndarray:
        """Positions in the list that the annotations refer to."""
        row_of = {item["id"]: i for i, item in enumerate(content[key])}
        return np.array([row_of.get(x[name], -1) for x in annotations], dtype=int)

    sides = [_number(image.get(side)) for image in images for side in ("width", "height")]
    sizes = np.array(sides, dtype=float).reshape(-1, 2)
    return AnnotationArrays(
        boxes=_boxes([x["bbox"] for x in annotations]),
        image_rows=rows("image_id", "images"),
        category_rows=rows("category_id", "categories"),
        is_crowd=np.array([bool(x.get("iscrowd")) for x in annotations], dtype=bool),
        image_sizes=np.where(sizes > 0, sizes, np.nan),
    )


def _number(value: object) -> float:
    """A finite number as it is, else nan, as for an integer of hundreds of digits."""
    is_finite = type(value) in (int, float) and abs(value) <= sys.float_info.max
    return value if is_finite else math.nan


def _boxes(values: list[Sequence]) -> np.ndarray:
    if {*map(len, values)} != {4}:
        values = [box if len(box) == 4 else [math.nan] * 4 for box in values]
    numbers = list(chain.from_iterable(values))
    with contextlib.suppress(OverflowError):
        if {*map(type, numbers)} <= {int, float}:
            return np.array(numbers, dtype=float).reshape(-1, 4)
    return np.array(list(map(_number, numbers)), dtype=float).reshape(-1, 4)
