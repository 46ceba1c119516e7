"""Problems of data in COCO's form, as far as they show without opening an image.

A problem is fatal if training cannot start or would learn something else than the file says.
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
    find_faults,
)

_SINGULAR = {"images": "image", "annotations": "annotation", "categories": "category"}
_WEIGHTS = np.sqrt([2, 3, 5, 7, 11, 13])
TOLERANCE = 1  # pixels that a box may reach out of its image


class Problem(NamedTuple):
    """Something wrong with a data set."""

    kind: str  # short name of what is wrong
    where: str  # the file and the item
    message: str  # what is wrong, in words
    fatal: bool  # whether training should not start
    item: tuple[str, int] | None = None  # list and position in it, if the problem is with one item
    size: tuple[int, int] | None = None  # true width and height, if the file has others


class Report:
    """The problems found so far in one file.

    Attributes:
        items: of each list of the content, those that have all of their fields.
    """

    def __init__(self, content: dict, json_file: str):
        self.content, self.json_file = content, str(json_file)
        self.problems: list[Problem] = []
        self.faults = {key: find_faults(content[key], fields) for key, fields in FIELDS.items()}
        self.items, self._positions = {}, {}
        for key, faults in self.faults.items():
            items, rows = content[key], range(len(content[key]))
            self._positions[key] = [i for i in rows if i not in faults] if faults else rows
            self.items[key] = [items[i] for i in self._positions[key]] if faults else items

    def add_file(self, kind: str, message: str, fatal: bool = False) -> None:
        """Adds a problem of the file as a whole."""
        self.problems.append(Problem(kind, self.json_file, message, fatal))

    def add(self, key: str, row: int, kind: str, message: str, fatal=False, size=None) -> None:
        """Adds a problem of ``items[key][row]``."""
        self.add_at(key, self._positions[key][row], kind, message, fatal, size)

    def add_at(self, key: str, position: int, kind: str, message: str, fatal, size=None) -> None:
        """Adds a problem of any item by its position in the file."""
        item, where = self.content[key][position], f"{self.json_file}: {key}[{position}]"
        if isinstance(item, dict) and "id" in item:
            name = item.get("file_name", item.get("name"))
            where = f"{self.json_file}: {_SINGULAR[key]} {item['id']!r}" + f" ({name})" * bool(name)
        self.problems.append(Problem(kind, where, message, fatal, (key, position), size))


def missing_lists(content: object) -> list[str]:
    """Names the lists of COCO's form that content does not have."""
    lists = content if isinstance(content, dict) else {}
    return [key for key in FIELDS if not isinstance(lists.get(key), list)]


def _shorten(item: object) -> str:
    text = repr(item)
    return text if len(text) <= 200 else f"{text[:150]} ... {text[-40:]}"


def check_annotations(content: dict, json_file: str, training: bool = True) -> list[Problem]:
    """Checks everything that needs no image, at most some seconds for a million annotations.

    Args:
        content: of the file, whatever it is.
        json_file: its name.
        training: whether it is a problem if no image has a box.
    """
    if missing := missing_lists(content):
        message = f"is not in COCO's form: it has no list {', '.join(map(repr, missing))}"
        return [Problem("missing-list", str(json_file), message, True)]
    report = Report(content, json_file)
    for key in ("images", "categories"):
        if not content[key]:
            report.add_file("empty-list", f"{key!r} is empty", True)
    for key, faults in report.faults.items():
        for i, fault in faults.items():
            message = f"{_shorten(content[key][i])} in {key!r} {fault}"
            report.add_at(key, i, f"bad-{_SINGULAR[key]}", message, True)
    arrays = annotation_arrays(report.items)
    _check_ids(report)
    _check_fields(report)
    _check_sizes(report, arrays.image_sizes)
    for name, rows in (("image", arrays.image_rows), ("category", arrays.category_rows)):
        for row in np.flatnonzero(rows < 0):
            id_ = report.items["annotations"][row][f"{name}_id"]
            message = f"no {name} has its {name}_id {id_!r}"
            report.add("annotations", row, f"unknown-{name}", message, True)
    _check_boxes(report, arrays)
    _check_duplicate_boxes(report, arrays)
    if training and not arrays.trainable().any():
        report.add_file("no-boxes", "no image has a box to train on", True)
    return report.problems


def _repeated(values: Iterable) -> list[int]:
    """Positions of the values that were there before."""
    values, seen = list(values), set()
    if len(set(values)) == len(values):
        return []  # fast, as nearly always
    return [i for i, value in enumerate(values) if value in seen or seen.add(value)]


def _check_ids(report: Report) -> None:
    for key, name in _SINGULAR.items():
        ids = [item["id"] for item in report.items[key]]
        for row in _repeated(ids):
            report.add(key, row, f"duplicate-{name}-id", f"another {name} has this id", True)
        if key != "annotations" and len({isinstance(id_, str) for id_ in ids}) > 1:
            report.add_file("mixed-ids", f"ids in {key!r} are partly text, partly numbers", True)
    names = [category["name"] for category in report.items["categories"]]
    for row in _repeated(names):
        text = f"another category has the name {names[row]!r}"
        report.add("categories", row, "duplicate-name", text)
    for row in _repeated(image["file_name"] for image in report.items["images"]):
        report.add("images", row, "duplicate-file", "another image has this file name")


def _check_fields(report: Report) -> None:
    annotations = report.items["annotations"]
    for row, annotation in enumerate(annotations):
        id_ = annotation["id"]
        if annotation.get("ignore"):
            message = "has 'ignore', which Detectron2 refuses; it has 'iscrowd' for that"
            report.add("annotations", row, "ignore", message, True)
        if isinstance(id_, str) or id_ <= 0 or id_ % 1:  # pycocotools takes id 0 for missed
            message = "evaluation goes wrong with ids other than whole numbers above 0"
            report.add("annotations", row, "evaluation-id", message)
    for field in ("area", "iscrowd"):
        ids = [x["id"] for x in annotations if field not in x]
        if ids:
            message = f"{len(ids)} annotations have no {field}, which evaluation needs: {ids[0]!r}"
            report.add_file(f"no-{field}", message + " and on" * (len(ids) > 1))


def _check_sizes(report: Report, sizes: np.ndarray) -> None:
    for row in np.flatnonzero(np.isnan(sizes).any(axis=1)):
        sides = [x for x, y in zip(("width", "height"), sizes[row], strict=True) if np.isnan(y)]
        image = _shorten(report.items["images"][row])
        message = f"{image} in 'images' has no {' and '.join(sides)} above 0"
        report.add("images", row, "no-size", message, True)
    for row in np.flatnonzero((sizes < MIN_IMAGE_SIDE).any(axis=1)):
        size = f"{sizes[row, 0]:g} x {sizes[row, 1]:g} pixels"
        message = f"{size}, a side under {MIN_IMAGE_SIDE}: left out of training"
        report.add("images", row, "small-image", message)


def _check_boxes(report: Report, arrays: AnnotationArrays) -> None:
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
    kinds = (
        ("bad-box", ~finite, "is not four finite numbers"),
        ("empty-box", empty, "has no width or no height: left out of training"),
        ("tiny-box", small, f"has a side under {MIN_BOX_SIDE} pixel: left out of training"),
        ("outside-box", outside, "is outside of its image: left out of training"),
        ("partly-outside-box", partly, "reaches {out:.4g} pixels out of its image"),
    )
    for kind, rows, text in kinds:
        for row in np.flatnonzero(rows):
            box = reprlib.repr(list(report.items["annotations"][row]["bbox"]))
            message = f"box {box} {text.format(out=out[row])}"
            report.add("annotations", row, kind, message, kind == "bad-box")


def _check_duplicate_boxes(report: Report, arrays: AnnotationArrays) -> None:
    keys = np.column_stack([arrays.image_rows, arrays.category_rows, arrays.boxes])
    keys[(arrays.image_rows < 0) | (arrays.category_rows < 0)] = np.nan  # equal to nothing
    # Sorting by all columns is slow, so that first come those whose weighted sums are equal.
    with np.errstate(invalid="ignore", over="ignore"):
        sums = (keys * _WEIGHTS).sum(axis=1)
    order = np.argsort(sums)
    equal = np.flatnonzero(sums[order[1:]] == sums[order[:-1]])
    candidates = np.union1d(order[equal], order[equal + 1])
    order = candidates[np.lexsort(keys[candidates].T)]  # equal rows stay in the file's order
    same = (keys[order[1:]] == keys[order[:-1]]).all(axis=1)
    for row, repeated in sorted(zip(order[1:][same], order[:-1][same], strict=True)):
        original = report.items["annotations"][repeated]["id"]
        message = f"annotation {original!r} has the same image, category and box"
        report.add("annotations", row, "duplicate-box", message)
