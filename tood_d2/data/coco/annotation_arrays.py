"""What content of COCO's form holds, as arrays.

N images, A annotations, K categories. Boxes are XYWH in pixels of their image.
"""

import contextlib
import math
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

# Smaller boxes and images are not trained on, as in the official code.
MIN_BOX_SIDE = 1  # pixels of the original image
MIN_IMAGE_SIDE = 32

_ID = (int, float, str)
FIELDS = {
    "images": {"id": _ID, "file_name": (str,)},
    "annotations": {"id": _ID, "image_id": _ID, "category_id": _ID, "bbox": (list, tuple)},
    "categories": {"id": _ID, "name": (str,)},
}
"""What the items of each list have at least, and the types that it can have. The size of an image
and the numbers of a box are :func:`annotation_arrays`'s concern."""


class AnnotationArrays(NamedTuple):
    """The annotations of content in COCO's form."""

    boxes: np.ndarray
    """(A, 4), nan for whatever is no number."""
    image_rows: np.ndarray
    """(A,) positions in the list of images, -1 for an unknown image."""
    category_rows: np.ndarray
    """(A,) positions in the list of categories, -1 for an unknown category."""
    is_crowd: np.ndarray
    """(A,) bool."""
    image_sizes: np.ndarray
    """(N, 2) width and height in pixels, nan unless positive."""

    def box_image_sizes(self) -> np.ndarray:
        """(A, 2) width and height of each box's image; nan if they are not known."""
        sizes = np.concatenate([self.image_sizes, [[np.nan, np.nan]]])
        return sizes[self.image_rows]

    def trainable(self) -> np.ndarray:
        """(A,) bool, the boxes that training uses, see :func:`.get_training_dicts`."""
        sizes = self.box_image_sizes()
        start, end = self.boxes[:, :2], self.boxes[:, :2] + self.boxes[:, 2:]
        with np.errstate(invalid="ignore"):
            visible = (np.minimum(end, sizes) - np.maximum(start, 0) > 0).all(axis=1)
            large = (self.boxes[:, 2:] >= MIN_BOX_SIDE).all(axis=1)
            large_image = (sizes >= MIN_IMAGE_SIDE).all(axis=1)
        finite = np.isfinite(self.boxes).all(axis=1)
        known = (self.image_rows >= 0) & (self.category_rows >= 0)
        return visible & large & large_image & finite & known & ~self.is_crowd


def fault(item: object, fields: dict[str, tuple[type, ...]]) -> str | None:
    """Says what is wrong with an item of a list; None if it has every field.

    Args:
        item: of ``content[key]``.
        fields: ``FIELDS[key]``.
    """
    if not isinstance(item, dict):
        return "is not an object with fields"
    missing = [field for field in fields if field not in item]
    if missing:
        return f"has no {', '.join(missing)}"
    for field, types in fields.items():
        if type(item[field]) not in types:
            return f"has {field} {item[field]!r}, which is no {types[-1].__name__}"
    return None


def sound_positions(items: list, fields: dict[str, tuple[type, ...]]) -> list[int]:
    """Finds the items without :func:`fault`, fast if that is all of them.

    Returns:
        Their positions in the list.
    """
    missing = object()
    if set(map(type, items)) <= {dict} and all(
        {type(item.get(field, missing)) for item in items} <= set(types)
        for field, types in fields.items()
    ):
        return list(range(len(items)))
    return [i for i, item in enumerate(items) if fault(item, fields) is None]


def sound_content(content: dict) -> dict:
    """Leaves out the items that lack a field.

    Args:
        content: in COCO's form, with all of its lists.
    """
    return {
        key: [content[key][i] for i in sound_positions(content[key], fields)]
        for key, fields in FIELDS.items()
    }


def annotation_arrays(content: dict) -> AnnotationArrays:
    """Reads the annotations, at most some seconds for a million.

    Args:
        content: sound, see :func:`sound_content`.
    """
    images, annotations = content["images"], content["annotations"]
    image_rows = {image["id"]: i for i, image in enumerate(images)}
    category_rows = {category["id"]: i for i, category in enumerate(content["categories"])}
    sizes = [(_number(x.get("width")), _number(x.get("height"))) for x in images]
    sizes = np.array(sizes, dtype=float).reshape(-1, 2)
    sizes[~(sizes > 0) | np.isinf(sizes)] = np.nan
    return AnnotationArrays(
        boxes=_boxes([x["bbox"] for x in annotations]),
        image_rows=np.array([image_rows.get(x["image_id"], -1) for x in annotations], dtype=int),
        category_rows=np.array(
            [category_rows.get(x["category_id"], -1) for x in annotations], dtype=int
        ),
        is_crowd=np.array([bool(x.get("iscrowd")) for x in annotations], dtype=bool),
        image_sizes=sizes,
    )


def _number(value: object) -> float:
    if type(value) not in (int, float):
        return math.nan
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf


def _boxes(values: list[Sequence]) -> np.ndarray:
    types = set(map(type, chain.from_iterable(values)))
    if set(map(len, values)) <= {4} and types <= {float, int}:
        with contextlib.suppress(OverflowError):
            return _as_rows(values)
    return _as_rows([map(_number, box) if len(box) == 4 else [math.nan] * 4 for box in values])


def _as_rows(values: list[Iterable]) -> np.ndarray:
    flat = np.fromiter(chain.from_iterable(values), dtype=float, count=4 * len(values))
    return flat.reshape(-1, 4)
