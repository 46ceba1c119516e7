"""Which boxes and images are trained on."""

import logging
from collections.abc import Sequence

from detectron2.data import get_detection_dataset_dicts
from detectron2.data.build import filter_images_with_only_crowd_annotations
from detectron2.structures import BoxMode

from ..coco.annotation_arrays import MIN_BOX_SIDE, MIN_IMAGE_SIDE

logger = logging.getLogger(__name__)


def _has_extent(annotation: dict, image: dict) -> bool:
    x1, y1, x2, y2 = BoxMode.convert(
        list(annotation["bbox"]), annotation["bbox_mode"], BoxMode.XYXY_ABS
    )
    is_large = x2 - x1 >= MIN_BOX_SIDE and y2 - y1 >= MIN_BOX_SIDE
    return is_large and x1 < image["width"] and y1 < image["height"] and min(x2, y2) > 0


def _dataset_dicts(names: str | Sequence[str]) -> list[dict]:
    try:
        images = get_detection_dataset_dicts(names, filter_empty=False)
    except AssertionError as error:  # of other classes than those that are registered, say
        raise ValueError(
            f"data set {names}: {error}. Give files of your own as dataset.train_json or "
            "DATASETS.TRAIN_JSON (YAML)"
        ) from error
    for image in images:
        if missing := {"file_name", "width", "height", "annotations"} - {*image}:
            name = image.get("file_name", "a record")
            raise ValueError(f"{name} of data set {names} has no {', '.join(sorted(missing))}")
        if any(x["bbox_mode"] == BoxMode.XYWHA_ABS for x in image["annotations"]):
            raise ValueError(f"{image['file_name']}: rotated boxes are not supported")
    return images


def get_training_dicts(
    names: str | Sequence[str], filter_empty: bool = True, num_classes: int | None = None
) -> list[dict]:
    """Detectron2's dataset dicts, filtered like the official training data.

    Left out are boxes with a side under 1 pixel or outside of their image, images with a
    side under 32 pixels and, with ``filter_empty``, images without boxes (other than crowds).

    Args:
        names: of registered data sets.
        num_classes: of the model, if known.

    Raises:
        ValueError: if no image remains, a label is beyond the model's classes, boxes are rotated,
            a record lacks its size, or the data contradict what is known of them.
    """
    images, num_dropped, num_crowds = [], 0, 0
    for image in _dataset_dicts(names):
        if min(image["width"], image["height"]) < MIN_IMAGE_SIDE:
            continue
        annotations = [x for x in image["annotations"] if _has_extent(x, image)]
        largest = max((x["category_id"] for x in annotations), default=-1)
        if num_classes is not None and largest >= num_classes:
            raise ValueError(
                f"{image['file_name']} in {names} has an object with the label {largest}, but the "
                f"model's {num_classes} classes are 0 to {num_classes - 1}: set "
                "MODEL.TOOD.NUM_CLASSES (YAML) or model.num_classes to the data's"
            )
        num_crowds += sum(bool(x.get("iscrowd")) for x in annotations)
        num_dropped += len(image["annotations"]) - len(annotations)
        images.append({**image, "annotations": annotations})
    if num_crowds:
        logger.info(f"Left out {num_crowds} annotations that are crowds (iscrowd 1).")
    if num_dropped:
        logger.info(f"Left out {num_dropped} boxes under {MIN_BOX_SIDE} pixel or out of sight.")
    if filter_empty:
        images = filter_images_with_only_crowd_annotations(images)
    if not images:
        crowds = f" other than {num_crowds} crowds (iscrowd 1)" if num_crowds else ""
        raise ValueError(
            f"no image to train on in {names}: every one is too small or has no box{crowds}"
        )
    return images
