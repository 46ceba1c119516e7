"""Detections as rows of a table, one for each image."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow
import torch

from detectron2.structures import Boxes, Instances

from ..data.images import decode_image, reason_of
from ..inference.predictor import ImagePredictor
from ..text import printable
from .items import Item, read_items

logger = logging.getLogger(__name__)

SCHEMA = pyarrow.schema(
    {
        "file_name": pyarrow.string(),
        "image_id": pyarrow.int64(),
        "height": pyarrow.int32(),
        "width": pyarrow.int32(),
        "boxes": pyarrow.list_(pyarrow.list_(pyarrow.float32(), 4)),
        "scores": pyarrow.list_(pyarrow.float32()),
        "category_ids": pyarrow.list_(pyarrow.int64()),
        "category_names": pyarrow.list_(pyarrow.string()),
        "error": pyarrow.string(),
    }
)
"""Boxes are XYXY in pixels of the image, the best first. An image with an error has neither a size
nor detections."""


READ_AHEAD = 8
"""Files that are read while the detector works."""


def detect_items(
    predictor: ImagePredictor,
    items: Sequence[Item],
    *,
    batch_size: int = 1,
    score_thresh: float = 0.0,
    report: Callable[[], None] = lambda: None,
) -> pyarrow.Table:
    """Detects in images.

    Args:
        predictor: the detector.
        items: the images.
        batch_size: see :meth:`.ImagePredictor.detect_all`.
        score_thresh: least score of a detection.
        report: called after each image.

    Returns:
        Rows of :data:`SCHEMA` in the order of the items. An image that cannot be read is a row
        with an error.
    """
    rows: list[dict] = []
    begun: list[dict] = []

    def images() -> Iterator[np.ndarray]:
        for item, content in _ahead(read_items(items), READ_AHEAD):
            row = dict.fromkeys(SCHEMA.names) | {x: getattr(item, x) for x in SCHEMA.names[:2]}
            rows.append(row)
            try:
                if isinstance(content, Exception):
                    raise content
                image = decode_image(content, item.file_name, "RGB")
            except Exception as error:  # of any file system, or of a damaged image
                row["error"] = printable(reason_of(error, item.file_name))
                logger.warning(f"{printable(item.file_name)}: not readable ({row['error']})")
                report()
            else:
                row["height"], row["width"] = image.shape[:2]
                begun.append(row)
                yield image

    for found in predictor.detect_all(images(), batch_size):
        row = begun.pop(0)
        row |= _columns(found[found.scores >= score_thresh], predictor)
        report()
    return pyarrow.Table.from_pylist(rows, SCHEMA)


def _columns(instances: Instances, predictor: ImagePredictor) -> dict:
    classes = instances.pred_classes.tolist()
    return {
        "boxes": instances.pred_boxes.tensor.tolist(),
        "scores": instances.scores.tolist(),
        "category_ids": [predictor.category_ids[x] for x in classes],
        "category_names": [predictor.class_names[x] for x in classes],
    }


def instances_of(row: dict, category_ids: list[int]) -> Instances:
    """The detections of a row.

    Args:
        row: of a table of :data:`SCHEMA`, as Python's types.
        category_ids: of the classes.

    Raises:
        ValueError: if it has an error, or detections of another class.
    """
    if row["error"] is not None:
        raise ValueError(f"{row['file_name']} could not be read: {row['error']}")
    classes = {id_: i for i, id_ in enumerate(category_ids)}
    if unknown := {*row["category_ids"]} - {*classes}:
        raise ValueError(f"{row['file_name']}: no class has the id {min(unknown)}")
    return Instances(
        (row["height"], row["width"]),
        pred_boxes=Boxes(torch.tensor(row["boxes"]).reshape(-1, 4)),
        scores=torch.tensor(row["scores"]),
        pred_classes=torch.tensor([classes[x] for x in row["category_ids"]], dtype=torch.int64),
    )


def _ahead(values: Iterator, number: int) -> Iterator:
    """The same values, so many of which another thread has ready."""
    with ThreadPoolExecutor(1) as thread:
        begun = deque(thread.submit(next, values, None) for _ in range(number))
        while (value := begun.popleft().result()) is not None:
            begun.append(thread.submit(next, values, None))
            yield value
