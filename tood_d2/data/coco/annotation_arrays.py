"""What content of COCO's form holds, as arrays.

Nothing else of an annotation counts, neither in training nor in evaluation. Values are read as they
are meant: numbers may be text, ids may be of any type.

N images, A annotations, K categories. Boxes are XYWH in pixels of their image.
"""

import contextlib
import math
import sys
from collections.abc import Iterable, Sequence
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
    "annotations": {"image_id": _ID, "category_id": _ID, "bbox": (tuple, list)},
    "categories": {"id": _ID, "name": (str,)},
}
_FLAGS = {"": 0, "0": 0, "0.0": 0, "false": 0, "none": 0, "1": 1, "1.0": 1, "true": 1}
UNREADABLE = -1  # a flag


class AnnotationArrays(NamedTuple):
    """The annotations of content in COCO's form."""

    boxes: np.ndarray  # (A, 4), not finite for whatever is no finite number
    areas: np.ndarray  # (A,) square pixels, nan for what cannot be the area of an object in its box
    image_rows: np.ndarray  # (A,) positions in the list of images, -1 for an unknown image
    category_rows: np.ndarray  # (A,) positions in the list of categories, -1 for an unknown one
    crowd_flags: np.ndarray  # (A,) int, 1 for a crowd, 0 for an object, or UNREADABLE
    image_sizes: np.ndarray  # (N, 2) width and height in pixels, nan unless positive

    @property
    def is_crowd(self) -> np.ndarray:
        """(A,) bool."""
        return self.crowd_flags == 1

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
    if set(map(type, items)) <= {dict}:
        found = {field: {type(item.get(field)) for item in items} for field in fields}
        if all(found[field] <= {*types} - {float} for field, types in fields.items()):
            return {}
    return {i: text for i, item in enumerate(items) if (text := _fault(item, fields))}


def _fault(item: object, fields: dict[str, tuple[type, ...]]) -> str | None:
    if not isinstance(item, dict):
        return "is not an object with fields"
    if missing := [field for field in fields if field not in item]:
        return f"has no {', '.join(missing)}"
    for field, types in fields.items():
        value = item[field]
        if type(value) not in types or isinstance(value, float) and not math.isfinite(value):
            return f"has {field} {value!r}, which is no {types[-1].__name__}"
    return None


def annotation_arrays(content: dict) -> AnnotationArrays:
    """Reads the annotations of content without faults, at most some seconds for a million."""
    images, annotations = content["images"], content["annotations"]

    def rows(name: str, key: str) -> np.ndarray:
        return find_rows([x[name] for x in annotations], [item["id"] for item in content[key]])

    sides = [read_number(image.get(side)) for image in images for side in ("width", "height")]
    sizes = np.array(sides, dtype=float).reshape(-1, 2)
    boxes = _boxes([x["bbox"] for x in annotations])
    return AnnotationArrays(
        boxes=boxes,
        areas=_areas([x.get("area") for x in annotations], boxes),
        image_rows=rows("image_id", "images"),
        category_rows=rows("category_id", "categories"),
        crowd_flags=_flags([x.get("iscrowd") for x in annotations]),
        image_sizes=np.where(sizes > 0, sizes, np.nan),
    )


def find_rows(references: list, ids: list) -> np.ndarray:
    """Finds the position of the id that each reference means, -1 if there is none.

    A number and its text mean the same, unless both are ids.
    """
    row_of = {id_: row for row, id_ in enumerate(ids)}
    rows = np.array([row_of.get(x, -1) for x in references], dtype=int)
    if (rows < 0).any():
        row_of_text = dict.fromkeys(map(str, ids), -1)
        for text in row_of_text:
            same = [id_ for id_ in (text, *_integer(text)) if id_ in row_of]
            row_of_text[text] = row_of[same[0]] if len(same) == 1 else -1
        for i in np.flatnonzero(rows < 0):
            rows[i] = row_of_text.get(str(references[i]).strip(), -1)
    return rows


def _integer(text: str) -> tuple[int, ...]:
    with contextlib.suppress(ValueError):
        return (int(text),)
    return ()


def read_number(value: object) -> float:
    """A finite number as it is, also as text, else nan, as for an integer of hundreds of digits."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return math.nan
    is_finite = type(value) in (int, float) and abs(value) <= sys.float_info.max
    return value if is_finite else math.nan


def _numbers(values: list) -> np.ndarray:
    with contextlib.suppress(OverflowError):
        if {*map(type, values)} <= {int, float}:
            return np.array(values, dtype=float)
    return np.array(list(map(read_number, values)), dtype=float)


def _boxes(values: list[Sequence]) -> np.ndarray:
    if {*map(len, values)} != {4}:
        values = [box if len(box) == 4 else [math.nan] * 4 for box in values]
    return _numbers(list(chain.from_iterable(values))).reshape(-1, 4)


def _areas(values: list, boxes: np.ndarray) -> np.ndarray:
    """An object cannot be larger than its box, but for the rounding of both to pixels."""
    areas = _numbers(values)
    with np.errstate(invalid="ignore", over="ignore"):
        is_possible = (areas > 0) & (areas <= 1.01 * (np.abs(boxes[:, 2:]) + 1).prod(axis=1))
    return np.where(is_possible, areas, np.nan)


def _flags(values: Iterable) -> np.ndarray:
    return np.array([_flag(x) for x in values], dtype=int)


def _flag(value: object) -> int:
    if value is None or value is False:
        return 0
    if type(value) in (bool, int, float):
        return int(value) if value in (0, 1) else UNREADABLE
    return _FLAGS.get(value.strip().lower(), UNREADABLE) if isinstance(value, str) else UNREADABLE
