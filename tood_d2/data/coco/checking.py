"""Problems of data in COCO's form, as far as they show without opening an image.

N images, A annotations, K categories. Boxes are XYWH in pixels of their image. A problem is fatal
if training cannot start or would learn something else than what the file says.
"""

import reprlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from .annotation_arrays import (
    FIELDS,
    MIN_BOX_SIDE,
    MIN_IMAGE_SIDE,
    AnnotationArrays,
    annotation_arrays,
    fault,
    sound_positions,
)

_SINGULAR = {"images": "image", "annotations": "annotation", "categories": "category"}
_WEIGHTS = np.sqrt([2, 3, 5, 7, 11, 13])
TOLERANCE = 1  # pixels that a box may reach out of its image


class Problem(NamedTuple):
    """Something wrong with a data set."""

    kind: str
    """Short name of what is wrong."""
    where: str
    """The file and the item."""
    message: str
    """What is wrong, in words."""
    fatal: bool
    """Whether training should not start."""
    item: tuple[str, int] | None = None
    """List of the file and position in it, if the problem is with one item."""
    size: tuple[int, int] | None = None
    """True width and height of the image, if they are known to be others than in the file."""


def locate(json_file: str, key: str, position: int, item: object) -> str:
    """Names an item of a list by its file, its id and, if it has one, its name."""
    if not isinstance(item, dict) or "id" not in item:
        return f"{json_file}: {key}[{position}]"
    name = item.get("file_name", item.get("name"))
    return f"{json_file}: {_SINGULAR[key]} {item['id']!r}" + (f" ({name})" if name else "")


class _Report:
    """The problems found so far in one file."""

    def __init__(self, content: dict, json_file: str):
        self.content, self.json_file = content, str(json_file)
        self.problems: list[Problem] = []
        # Only items that have all of their fields are looked at any further.
        self.sound: dict[str, list[int]] = {}
        self.items: dict[str, list[dict]] = {}

    def add_file(self, kind: str, message: str, fatal: bool) -> None:
        self.problems.append(Problem(kind, self.json_file, message, fatal))

    def add(self, kind: str, key: str, row: int, message: str, fatal: bool) -> None:
        """Adds a problem of the item in this row of the sound items."""
        position = self.sound[key][row]
        where = locate(self.json_file, key, position, self.items[key][row])
        self.problems.append(Problem(kind, where, message, fatal, (key, position)))

    def add_unsound(self) -> None:
        for key, fields in FIELDS.items():
            items = self.content[key]
            self.sound[key] = sound_positions(items, fields)
            self.items[key] = [items[i] for i in self.sound[key]]
            for i in sorted(set(range(len(items))) - set(self.sound[key])):
                where = locate(self.json_file, key, i, items[i])
                message = f"{_shorten(items[i])} in {key!r} {fault(items[i], fields)}"
                self.problems.append(
                    Problem(f"bad-{_SINGULAR[key]}", where, message, True, (key, i))
                )


def has_lists(content: object) -> bool:
    """Returns whether content has the lists of COCO's form, whatever is in them."""
    return isinstance(content, dict) and all(isinstance(content.get(key), list) for key in FIELDS)


def _shorten(item: object) -> str:
    text = repr(item)
    return text if len(text) <= 200 else f"{text[:150]} ... {text[-40:]}"


def check_annotations(content: dict, json_file: str, training: bool = True) -> list[Problem]:
    """Checks everything that needs no image, at most some seconds for a million annotations.

    Args:
        content: of the file.
        json_file: to be named.
        training: whether it is a problem if no image has a box.
    """
    report = _Report(content, json_file)
    if not has_lists(content):
        found = content if isinstance(content, dict) else {}
        missing = [repr(key) for key in FIELDS if not isinstance(found.get(key), list)]
        report.add_file(
            "missing-list", f"is not in COCO's form: it has no list {', '.join(missing)}", True
        )
        return report.problems
    for key in ("images", "categories"):
        if not content[key]:
            report.add_file("empty-list", f"{key!r} is empty", True)
    report.add_unsound()
    _check_ids(report)
    _check_fields(report)
    arrays = annotation_arrays(report.items)
    _check_sizes(report, arrays)
    _check_references(report, arrays)
    _check_boxes(report, arrays)
    _check_duplicate_boxes(report, arrays)
    if training and not arrays.trainable().any():
        report.add_file("no-boxes", "no image has a box to train on", True)
    return report.problems


def _repeated(values: Iterable) -> list[int]:
    """Positions of the values that were there before."""
    values = list(values)
    if len(set(values)) == len(values):
        return []
    seen = set()
    return [i for i, value in enumerate(values) if value in seen or seen.add(value)]


def _check_ids(report: _Report) -> None:
    for key, name in _SINGULAR.items():
        ids = [item["id"] for item in report.items[key]]
        for row in _repeated(ids):
            report.add(f"duplicate-{name}-id", key, row, f"another {name} has this id", True)
        if key != "annotations" and len({isinstance(id_, str) for id_ in ids}) > 1:
            report.add_file("mixed-ids", f"ids in {key!r} are partly text, partly numbers", True)
    for row in _repeated(category["name"] for category in report.items["categories"]):
        message = f"another category has the name {report.items['categories'][row]['name']!r}"
        report.add("duplicate-name", "categories", row, message, False)
    for row in _repeated(image["file_name"] for image in report.items["images"]):
        report.add("duplicate-file", "images", row, "another image has this file name", False)


def _check_fields(report: _Report) -> None:
    annotations = report.items["annotations"]
    for row in (i for i, x in enumerate(annotations) if x.get("ignore")):
        message = "has 'ignore', which Detectron2 refuses; it has 'iscrowd' for that"
        report.add("ignore", "annotations", row, message, True)
    # pycocotools takes an object of id 0 for missed.
    ids = [x["id"] for x in annotations]
    plain = {*map(type, ids)} <= {int} and min(ids, default=1) > 0
    for row in () if plain else (i for i, id_ in enumerate(ids) if not _is_counted(id_)):
        message = "evaluation goes wrong with ids other than whole numbers above 0"
        report.add("evaluation-id", "annotations", row, message, False)
    for field in ("area", "iscrowd"):
        rows = [i for i, x in enumerate(annotations) if field not in x]
        if rows:
            first = annotations[rows[0]]["id"]
            message = f"{len(rows)} annotations have no {field}, which evaluation needs: {first!r}"
            report.add_file(f"no-{field}", message + " and on" * (len(rows) > 1), False)


def _is_counted(id_: int | float | str) -> bool:
    return not isinstance(id_, str) and id_ > 0 and id_ % 1 == 0


def _check_sizes(report: _Report, arrays: AnnotationArrays) -> None:
    sizes = arrays.image_sizes
    for row in np.flatnonzero(np.isnan(sizes).any(axis=1)):
        image = report.items["images"][row]
        sides = [x for x, y in zip(("width", "height"), sizes[row], strict=True) if np.isnan(y)]
        message = f"{_shorten(image)} in 'images' has no {' and '.join(sides)} above 0"
        report.add("no-size", "images", row, message, True)
    for row in np.flatnonzero((sizes < MIN_IMAGE_SIDE).any(axis=1)):
        size = f"{sizes[row, 0]:g} x {sizes[row, 1]:g} pixels"
        message = f"{size}, a side under {MIN_IMAGE_SIDE}: left out of training"
        report.add("small-image", "images", row, message, False)


def _check_references(report: _Report, arrays: AnnotationArrays) -> None:
    for name, rows in (("image", arrays.image_rows), ("category", arrays.category_rows)):
        for row in np.flatnonzero(rows < 0):
            id_ = report.items["annotations"][row][f"{name}_id"]
            message = f"no {name} has its {name}_id {id_!r}"
            report.add(f"unknown-{name}", "annotations", row, message, True)


def _check_boxes(report: _Report, arrays: AnnotationArrays) -> None:
    boxes, sizes = arrays.boxes, arrays.box_image_sizes()
    finite = np.isfinite(boxes).all(axis=1)
    start, sides = boxes[:, :2], boxes[:, 2:]
    with np.errstate(invalid="ignore"):
        out = np.maximum(-start, start + sides - sizes).max(axis=1)  # pixels, nan without a size
        empty = finite & (sides <= 0).any(axis=1)
        rest = finite & ~empty
        small = rest & (sides < MIN_BOX_SIDE).any(axis=1)
        outside = rest & ((start >= sizes) | (start + sides <= 0)).any(axis=1)
        partly = rest & ~outside & (out > TOLERANCE)
    dropped = "left out of training"
    kinds = (
        ("bad-box", ~finite, "is not four finite numbers", True),
        ("empty-box", empty, f"has no width or no height: {dropped}", False),
        ("tiny-box", small, f"has a side under {MIN_BOX_SIDE} pixel: {dropped}", False),
        ("outside-box", outside, f"is outside of its image: {dropped}", False),
        ("partly-outside-box", partly, "reaches {out:.4g} pixels out of its image", False),
    )
    for kind, rows, text, fatal in kinds:
        for row in np.flatnonzero(rows):
            box = reprlib.repr(list(report.items["annotations"][row]["bbox"]))
            text_of_row = text.format(out=out[row])
            report.add(kind, "annotations", row, f"box {box} {text_of_row}", fatal)


def _check_duplicate_boxes(report: _Report, arrays: AnnotationArrays) -> None:
    keys = np.column_stack([arrays.image_rows, arrays.category_rows, arrays.boxes])
    keys[(arrays.image_rows < 0) | (arrays.category_rows < 0)] = np.nan  # equal to nothing
    # Sorting by all columns is slow, so that first come those whose weighted sums are equal.
    with np.errstate(invalid="ignore", over="ignore"):
        sums = sum(column * weight for column, weight in zip(keys.T, _WEIGHTS, strict=True))
    order = np.argsort(sums)
    equal = np.flatnonzero(sums[order[1:]] == sums[order[:-1]])
    candidates = np.union1d(order[equal], order[equal + 1])
    order = candidates[np.lexsort(keys[candidates].T)]  # equal rows stay in the file's order
    same = (keys[order[1:]] == keys[order[:-1]]).all(axis=1)
    for row, repeated in sorted(zip(order[1:][same], order[:-1][same], strict=True)):
        original = report.items["annotations"][repeated]["id"]
        message = f"annotation {original!r} has the same image, category and box"
        report.add("duplicate-box", "annotations", row, message, False)
