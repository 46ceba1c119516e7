"""Whether data in COCO's form suit each other and the input size of a detector."""

import os

import numpy as np

from .annotation_arrays import annotation_arrays
from .checking import Problem, Report

STRIDE = 8  # of the finest level, in pixels of the input


def check_against(train: dict, test: dict, train_file: str, test_file: str) -> list[Problem]:
    """Compares training with test data: their categories, and whether they share images.

    The content of both files should have all of its lists.
    """
    train, test = Report(train, train_file).items, Report(test, test_file).items
    where = f"{train_file}, {test_file}"
    problems = []
    names, test_names = ({x["id"]: x["name"] for x in c["categories"]} for c in (train, test))
    for id_ in names | test_names:
        if names.get(id_) != test_names.get(id_):
            first, second = (
                f"named {known[id_]!r} in {file}" if id_ in known else f"not in {file}"
                for known, file in ((names, train_file), (test_names, test_file))
            )
            message = f"category {id_!r} is {first} and {second}"
            problems.append(Problem("other-categories", where, message, True))
    files = {os.path.normpath(image["file_name"]): image["id"] for image in train["images"]}
    for image in test["images"]:
        name = os.path.normpath(image["file_name"])
        if name in files:
            message = (
                f"{name} is image {files[name]!r} of the one and {image['id']!r} of the other: "
                "results on it say nothing, unless the folders differ"
            )
            problems.append(Problem("shared-image", where, message, False))
    return problems


def check_matching(content: dict, json_file: str, short_edge: int, max_size: int) -> list[Problem]:
    """Finds objects that may contain no location of a detector at its input size.

    A box whose sides are at least a stride always contains one, whatever its place.

    Args:
        content: of the file, with all of its lists.
        json_file: its name.
        short_edge: length in pixels that ``ResizeShortestEdge`` makes the shorter side.
        max_size: limit in pixels for the longer side.
    """
    report = Report(content, json_file)
    arrays = annotation_arrays(report.items)
    sizes = arrays.image_sizes
    scale = np.minimum(short_edge / sizes.min(axis=1), max_size / sizes.max(axis=1))
    input_sizes = np.floor(scale[:, None] * sizes + 0.5)  # as ResizeShortestEdge rounds
    for row in np.flatnonzero((input_sizes < STRIDE).any(axis=1)):
        width, height = input_sizes[row]
        message = f"is {width:g} x {height:g} pixels at the input, under a stride of {STRIDE}"
        report.add("images", row, "small-input", message)

    used = np.flatnonzero(arrays.trainable())
    sides = arrays.boxes[used, 2:] * (input_sizes / sizes)[arrays.image_rows[used]]
    small = (sides < STRIDE).any(axis=1)
    rows = arrays.category_rows[used]
    numbers, small_numbers = np.bincount(rows), np.bincount(rows[small])
    for row in np.flatnonzero(small_numbers):
        message = (
            f"{small_numbers[row]} of {numbers[row]} boxes have a side under the stride of "
            f"{STRIDE} pixels at the input size {short_edge} (at most {max_size}): "
            "they may contain no location and never be found, see Small objects in docs/training.md"
        )
        report.add("categories", row, "small-objects", message)
    return report.problems
