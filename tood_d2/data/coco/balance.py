"""What is uneven in data in COCO's form: training works, but may disappoint."""

import numpy as np

from .annotation_arrays import annotation_arrays
from .checking import Problem, Report

MIN_BOXES = 20  # of a class, to be learned from
MAX_IMBALANCE = 100  # boxes of the commonest class for one of another
MAX_OBJECTS = 100  # of an image, that COCO's AP and the shipped models look at
# A box is odd if its size differs from the median of its class by more than this many times the
# usual difference, as factors.
_ODD = 6
_MIN_SPREAD = np.log(1.25)
_MIN_COMPARED = 20


def check_balance(content: dict, json_file: str) -> list[Problem]:
    """Looks at the number of objects by class and image, and for boxes of odd sizes.

    Args:
        content: of the file, with all of its lists.
        json_file: its name.
    """
    report = Report(content, json_file)
    arrays = annotation_arrays(report.items)
    if number := arrays.is_crowd.sum():
        message = (
            f"{number} of {len(arrays.is_crowd)} annotations are crowds (iscrowd 1), "
            "which training leaves out"
        )
        report.add_file("crowds", message)
    rows = arrays.category_rows[arrays.trainable()]
    counts = np.bincount(rows, minlength=len(report.items["categories"]))
    most = counts.max(initial=0)
    for row, count in enumerate(counts):
        if count == 0:
            message = "a class without a box to train on"
            report.add("categories", row, "class-without-boxes", message)
        elif count < MIN_BOXES:
            report.add("categories", row, "rare-class", f"has {count} boxes only")
        elif count * MAX_IMBALANCE < most:
            message = f"has {count} boxes, {most / count:.0f} times fewer than the commonest class"
            report.add("categories", row, "imbalance", message)
    known = arrays.image_rows[arrays.image_rows >= 0]
    for row, count in enumerate(np.bincount(known, minlength=len(report.items["images"]))):
        if count > MAX_OBJECTS:
            message = (
                f"has {count} objects, of which {MAX_OBJECTS} can be found: raise "
                "model.max_detections_per_image or TEST.DETECTIONS_PER_IMAGE (YAML)"
            )
            report.add("images", row, "many-objects", message)
    _check_sizes_of_classes(report, arrays.boxes, arrays.category_rows)
    return report.problems


def _check_sizes_of_classes(report: Report, boxes: np.ndarray, category_rows: np.ndarray) -> None:
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.log(boxes[:, 2:].clip(0)).sum(axis=1) / 2  # of the side of a square
    for category, item in enumerate(report.items["categories"]):
        rows = np.flatnonzero((category_rows == category) & np.isfinite(size))
        if len(rows) < _MIN_COMPARED:
            continue
        difference = size[rows] - np.median(size[rows])
        spread = max(1.48 * np.median(np.abs(difference)), _MIN_SPREAD)
        for i in np.flatnonzero(np.abs(difference) > _ODD * spread):
            factor = np.exp(abs(difference[i]))
            word = "larger" if difference[i] > 0 else "smaller"
            message = f"box is {factor:.0f} times {word} than usual for {item['name']!r}"
            report.add("annotations", rows[i], "odd-size", message)


def check_classes(train: dict, test: dict, train_file: str, test_file: str) -> list[Problem]:
    """Names the classes that have boxes in one of two data sets alone.

    Both contents should have all of their lists.
    """
    counts = []
    for content, file in ((train, train_file), (test, test_file)):
        items = Report(content, file).items
        rows = annotation_arrays(items).category_rows
        numbers = np.bincount(rows[rows >= 0], minlength=len(items["categories"]))
        counts.append({x["name"]: n for x, n in zip(items["categories"], numbers, strict=True)})
    problems = []
    for name in counts[0].keys() & counts[1].keys():
        numbers = [count[name] for count in counts]
        if min(numbers) == 0 < max(numbers):
            with_boxes, without = (train_file, test_file) if numbers[0] else (test_file, train_file)
            message = f"class {name!r} has boxes in {with_boxes}, but none in {without}"
            where = f"{train_file}, {test_file}"
            problems.append(Problem("class-in-one-split", where, message, False))
    return problems
