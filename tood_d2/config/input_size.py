"""Image sizes at which the objects of the training data are large enough."""

import logging
import math

import numpy as np

from detectron2.data.transforms import ResizeShortestEdge

from .run import Run

QUANTILE = 0.1
"""Share of the objects that may be smaller than what is asked for."""

MAX_FACTOR = 2.0
"""Images are enlarged no more than this: time and memory grow with the square."""

MULTIPLE = 32
"""Of the shorter side of images in testing, in pixels: the largest stride of a usual backbone."""

logger = logging.getLogger(__name__)


def fit_input_size(run: Run) -> Run:
    """Enlarges the images of a run whose objects are small, and logs what changes.

    With the option ``min_object_size`` all sizes that images are resized to, in training and
    testing, are multiplied by one factor, 2 at most. It makes nine of ten objects to train on as
    large as that. An object's size is the square root of its box's area in pixels of the network
    input. Sizes that the user gave on the command line stay as they are, all of them.

    The result has the option switched off, so that images are not enlarged twice.
    """
    wanted = run.options.min_object_size
    if not wanted:
        return run
    run_off = run.with_options(min_object_size=0.0)
    resize = next((x for x in run.test_augmentations() if isinstance(x, ResizeShortestEdge)), None)
    if resize is None or any(_is_size(key) for key in run.overridden):
        return run_off
    short_edge = resize.short_edge_length[0]
    sizes = _object_sizes(run.training_dicts(), short_edge, resize.max_size)
    if len(sizes) == 0:
        return run_off
    present = float(np.quantile(sizes, QUANTILE))
    factor = min(wanted / present, MAX_FACTOR)
    new_short_edge = MULTIPLE * math.ceil(short_edge * factor / MULTIPLE - 0.01)
    if new_short_edge <= short_edge:
        return run_off
    logger.info(
        f"{run.key('min_object_size')}: a tenth of the objects are smaller than {present:.0f} "
        f"pixels at an input size of {short_edge}, so it becomes {new_short_edge}"
    )
    return run_off.with_input_scale(new_short_edge / short_edge)


def _is_size(key: str) -> bool:
    return key.endswith("short_edge_length") or key.startswith("INPUT.MIN_SIZE")


def _object_sizes(dataset_dicts: list[dict], short_edge: int, max_size: int) -> np.ndarray:
    """Square roots of the areas of the objects, in pixels of the input."""
    found = []
    for record in dataset_dicts:
        sides = record["height"], record["width"]
        scale = min(short_edge / min(sides), max_size / max(sides))
        boxes = np.array([x["bbox"] for x in record["annotations"]]).reshape(-1, 4)
        found.append(np.sqrt(boxes[:, 2] * boxes[:, 3]) * scale)
    return np.concatenate(found) if found else np.zeros(0)
