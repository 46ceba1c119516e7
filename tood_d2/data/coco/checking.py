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
    UNREADABLE,
    AnnotationArrays,
    annotation_arrays,
    find_faults,
)

_SINGULAR = {"images": "image", "annotations": "annotation", "categories": "category"}
_WEIGHTS = np.sqrt([2, 3, 5, 7, 11, 13])
MAX_ID = 2**53  # whole numbers up to it are exact in every program
TOLERANCE = 1  # pixels that a box may reach out of its image


class Problem(NamedTuple):
    """Something wrong with a data set."""

    kind: str  # short name of what is wrong
    where: str  # the file and the item
    message: str  # what is wrong, in words
    fatal: bool  # whether training should not start
    item: tuple[str, int] | None = None  # list and position in it, if the problem is with one item
    change: dict | None = None  # the fields that would be right
    orientation: int = 1  # EXIF's, if boxes have to be turned


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

    def add(self, key: str, row: int, kind: str, message: str, fatal=False, **kwargs) -> None:
        """Adds a problem of ``items[key][row]``; further arguments are those of `Problem`."""
        self.add_at(key, self._positions[key][row], kind, message, fatal, **kwargs)

    def add_at(self, key: str, position: int, kind: str, message: str, fatal, **kwargs) -> None:
        """Adds a problem of any item by its position in the file."""
        item, where = self.content[key][position], f"{self.json_file}: {key}[{position}]"
        if isinstance(item, dict) and "id" in item:
            name = item.get("file_name", item.get("name"))
            where = f"{self.json_file}: {_SINGULAR[key]} {item['id']!r}" + f" ({name})" * bool(name)
        self.problems.append(Problem(kind, where, message, fatal, (key, position), **kwargs))


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
    _check_flags(report, arrays)
    _check_evaluation_fields(report, arrays)
    _check_sizes(report, arrays.image_sizes)
    for name, rows in (("image", arrays.image_rows), ("category", arrays.category_rows)):
        for row in np.flatnonzero(rows < 0):
            id_ = report.items["annotations"][row][f"{name}_id"]
            message = f"no {name} has its {name}_id {id_!r}"
            report.add("annotations", row, f"unknown-{name}", message, True)
    _check_boxes(report, arrays)
    _check_duplicate_boxes(report, arrays)
    if training and not arrays.trainable().any():
        message = "no image has a box to train on"
        if arrays.is_crowd.any():
            message += f": {arrays.is_crowd.sum()} annotations are crowds (iscrowd 1)"
        report.add_file("no-boxes", message, True)
    return report.problems


def _repeated(values: Iterable) -> list[int]:
    """Positions of the values that were there before."""
    values, seen = list(values), set()
    if len(set(values)) == len(values):
        return []  # fast, as nearly always
    return [i for i, value in enumerate(values) if value in seen or seen.add(value)]


def _check_ids(report: Report) -> None:
    for key, name in (("images", "image"), ("categories", "category")):
        ids = [item["id"] for item in report.items[key]]
        for row in _repeated(ids):
            report.add(key, row, f"duplicate-{name}-id", f"another {name} has this id", True)
        if len({isinstance(id_, str) for id_ in ids}) > 1:
            report.add_file("mixed-ids", f"ids in {key!r} are partly text, partly numbers", True)
    names = [category["name"] for category in report.items["categories"]]
    for row in _repeated(names):
        text = f"another category has the name {names[row]!r}"
        report.add("categories", row, "duplicate-name", text)
    for row in _repeated(image["file_name"] for image in report.items["images"]):
        report.add("images", row, "duplicate-file", "another image has this file name")


def _check_flags(report: Report, arrays: AnnotationArrays) -> None:
    for row in np.flatnonzero(arrays.crowd_flags == UNREADABLE):
        value = reprlib.repr(report.items["annotations"][row]["iscrowd"])
        message = f"iscrowd should be 0, or 1 for a crowd, which is not trained on, not {value}"
        report.add("annotations", row, "bad-iscrowd", message, True)


def _check_evaluation_fields(report: Report, arrays: AnnotationArrays) -> None:
    """What other programs need of annotations; here evaluation completes it."""
    annotations = report.items["annotations"]
    seen = set()
    for row, annotation in enumerate(annotations):
        id_ = annotation.get("id")
        if type(id_) is not int or not 0 < id_ < MAX_ID:  # pycocotools takes id 0 for missed
            message = f"id {reprlib.repr(id_)}: pycocotools needs whole numbers above 0"
            report.add("annotations", row, "evaluation-id", message)
        elif id_ in seen:
            message = "another annotation has this id"
            report.add("annotations", row, "duplicate-annotation-id", message)
        else:
            seen.add(id_)
    with np.errstate(invalid="ignore"):
        has_extent = np.isfinite(arrays.boxes).all(axis=1) & (arrays.boxes[:, 2:] > 0).all(axis=1)
    for row in np.flatnonzero(np.isnan(arrays.areas) & has_extent):
        if (value := annotations[row].get("area")) is not None:
            text = f"area {reprlib.repr(value)} is none of an object in its box"
            report.add("annotations", row, "bad-area", f"{text}, the box's is taken")
    for field in ("area", "iscrowd"):
        if number := sum(x.get(field) is None for x in annotations):
            message = f"{number} annotations have no {field}, which other programs need"
            report.add_file(f"no-{field}", message)
    if number := sum(bool(x.get("ignore")) for x in annotations):
        message = f"{number} annotations have 'ignore', which has no effect; 'iscrowd' has"
        report.add_file("ignore", message)


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
            change = _clipped(report, arrays, row) if kind == "partly-outside-box" else None
            report.add("annotations", row, kind, message, kind == "bad-box", change=change)


def _clipped(report: Report, arrays: AnnotationArrays, row: int) -> dict:
    """Fields of an annotation that is clipped to its image."""
    box = arrays.boxes[row]
    start = np.maximum(box[:2], 0)
    sides = np.minimum(box[:2] + box[2:], arrays.box_image_sizes()[row]) - start
    change = {"bbox": [*start.tolist(), *sides.tolist()]}
    if not report.items["annotations"][row].get("segmentation"):  # whose area it is
        change["area"] = float(sides.prod())
    return change


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
        original = report.items["annotations"][repeated].get("id", f"number {repeated}")
        message = f"annotation {original!r} has the same image, category and box"
        report.add("annotations", row, "duplicate-box", message)
