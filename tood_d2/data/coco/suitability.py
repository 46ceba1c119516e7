"""Whether data in COCO's form suit each other and the input size of a detector."""

import os

import numpy as np

from .annotation_arrays import annotation_arrays, sound_content
from .checking import Problem, locate


def check_against(train: dict, test: dict, train_file: str, test_file: str) -> list[Problem]:
    """Compares training with test data: their categories, and whether they share images.

    Args:
        train: content of the one file, with all of its lists.
        test: content of the other.
        train_file: to be named.
        test_file: to be named.
    """
    train, test = sound_content(train), sound_content(test)
    where = f"{train_file}, {test_file}"
    problems = []
    names, test_names = ({x["id"]: x["name"] for x in c["categories"]} for c in (train, test))
    for id_ in [*names, *(x for x in test_names if x not in names)]:
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


def check_matching(
    content: dict, json_file: str, short_edge: int, max_size: int, stride: int = 8
) -> list[Problem]:
    """Finds objects that may contain no location of a detector at its input size.

    A box whose sides are at least a stride always contains one, whatever its place.

    Args:
        content: of the file, with all of its lists.
        json_file: to be named.
        short_edge: length in pixels that ``ResizeShortestEdge`` makes the shorter side.
        max_size: limit in pixels for the longer side.
        stride: of the finest level, in pixels of the input.
    """
    content = sound_content(content)
    arrays = annotation_arrays(content)
    problems = []
    sizes = arrays.image_sizes
    scale = np.minimum(
        short_edge / sizes.min(axis=1, keepdims=True), max_size / sizes.max(axis=1, keepdims=True)
    )
    input_sizes = np.floor(scale * sizes + 0.5)  # as ResizeShortestEdge rounds
    for row in np.flatnonzero((input_sizes < stride).any(axis=1)):
        where = locate(json_file, "images", row, content["images"][row])
        width, height = input_sizes[row]
        message = f"is {width:g} x {height:g} pixels at the input, under a stride of {stride}"
        problems.append(Problem("small-input", where, message, False))

    used = np.flatnonzero(arrays.trainable())
    sides = arrays.boxes[used, 2:] * (input_sizes / sizes)[arrays.image_rows[used]]
    small = (sides < stride).any(axis=1)
    rows, num_categories = arrays.category_rows[used], len(content["categories"])
    numbers = np.bincount(rows, minlength=num_categories)
    small_numbers = np.bincount(rows[small], minlength=num_categories)
    for row, (number, small_number) in enumerate(zip(numbers, small_numbers, strict=True)):
        if small_number:
            where = locate(json_file, "categories", row, content["categories"][row])
            message = (
                f"{small_number} of {number} boxes have a side under the stride of {stride} "
                f"pixels at the input size {short_edge} (at most {max_size}): "
                "they may contain no location and never be found"
            )
            problems.append(Problem("small-objects", where, message, False))
    return problems
