"""Pictures of objects as one or two detectors see them (Figures 1 and 4 of the paper)."""

import logging
import os
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

import numpy as np
from torch import nn
from tqdm import tqdm

from detectron2.data import DatasetMapper
from detectron2.data.detection_utils import convert_image_to_rgb

from ..cli.outputs import check_outputs, check_replaceable, save_figure
from ..config import Run, register_datasets
from ..inference import check_supported, dense_predictions, load_detector
from ..text import drawable, printable
from .alignment_figures import ObjectView, anchor_generator_of, draw_object, view_object
from .head_maps import draw_internals, head_internals

logger = logging.getLogger(__name__)


class Detector(NamedTuple):
    """A trained model and its test data."""

    name: str
    """Where its weights are from."""
    model: nn.Module
    records: dict[str, dict]
    """Detectron2's description of each image, by its id."""
    mapper: DatasetMapper
    """Reads an image and its objects as the model takes them."""
    class_names: list[str]


def load_annotated(run: Run) -> Detector:
    """The trained model of a run and its test data, with ground truth."""
    run = register_datasets(run, needed=("test",))
    records = {str(record["image_id"]): record for record in run.test_dicts()}
    model = load_detector(run)
    check_supported(model)
    name, mapper = run.options.init_checkpoint, run.annotated_test_mapper()
    return Detector(name, model, records, mapper, run.class_names)


def num_objects(detector: Detector, image_id: str) -> int:
    """Number of an image's objects as training would take them: without crowds and empty boxes."""
    record = detector.records[image_id]
    return len(detector.mapper(record)["instances"]) if record.get("annotations") else 0


def choose_objects(
    detector: Detector, image_ids: list[str] | None, indices: list[int] | None, num_images: int
) -> dict[str, list[int]]:
    """The objects to draw of each image.

    Args:
        detector: whose data are meant.
        image_ids: by default those of the first ``num_images`` images with objects.
        indices: of the objects in each of these images, by default all.

    Raises:
        ValueError: names an image or an object that does not exist.
    """
    if image_ids is None:
        with_objects = (x for x in detector.records if num_objects(detector, x))
        image_ids = list(islice(with_objects, num_images))
    objects = {}
    for image_id in image_ids:
        if image_id not in detector.records:
            raise ValueError(f"the data set has no image with the id {image_id}")
        count = num_objects(detector, image_id)
        for index in indices or ():
            if not 0 <= index < count:
                raise ValueError(f"image {image_id} has {count} objects, none with index {index}")
        objects[image_id] = list(range(count)) if indices is None else indices
    return objects


def check_same_objects(first: Detector, second: Detector, image_ids: Iterable[str]) -> None:
    """Raises a ValueError unless the detectors' data have the same objects in the images."""
    if first.class_names != second.class_names:
        raise ValueError(f"{first.name} and {second.name} differ in their classes")
    for id_ in image_ids:
        if id_ not in second.records or num_objects(first, id_) != num_objects(second, id_):
            raise ValueError(f"{first.name} and {second.name} differ in image {id_}")


def draw_objects(
    detectors: list[Detector], objects: dict[str, list[int]], output: str, internals: bool
) -> None:
    """Writes a picture of each object and, if asked to, one of each image's internals.

    Raises:
        OSError: if one cannot be written, or another file has its name.
    """
    paths = _picture_paths(objects, output, internals)
    targets = [path for of_image in paths.values() for path in of_image.values()]
    check_outputs(targets, [])
    if num_replaced := sum(map(check_replaceable, targets)):
        logger.warning(f"{output}: {num_replaced} pictures of an earlier run are replaced")
    names = [printable(x.name).replace("$", r"\$") for x in detectors]  # "$" starts a formula
    for image_id, indices in tqdm(objects.items(), unit="image"):
        inputs, images, views = zip(*(_view(x, image_id, indices) for x in detectors), strict=True)
        for index, *views_of_object in zip(indices, *views, strict=True):
            cls = inputs[0]["instances"].gt_classes[index]
            rows = list(zip(names, images, views_of_object, strict=True))
            with drawable(detectors[0].class_names) as labels:
                figure = draw_object(rows, f"{labels[cls]} (image {image_id}, object {index})")
            save_figure(figure, paths[image_id][index])
        if internals:
            found = head_internals(detectors[0].model, inputs[0])
            figure = draw_internals(images[0], views[0], found)
            save_figure(figure, paths[image_id]["internals"])


def _picture_paths(
    objects: dict[str, list[int]], output: str, internals: bool
) -> dict[str, dict[int | str, str]]:
    """Paths of the pictures by image and index of the object, or "internals"."""
    paths = {}
    for image_id, indices in objects.items():
        stem = os.path.join(output, image_id.replace(os.sep, "_"))
        kinds = [*indices, "internals"] if internals else indices
        paths[image_id] = {kind: f"{stem}_{kind}.png" for kind in kinds}
    return paths


def _view(
    detector: Detector, image_id: str, indices: list[int]
) -> tuple[dict, np.ndarray, list[ObjectView]]:
    """The model's input with ground truth, the image in it (RGB), and views of its objects."""
    model, mapper = detector.model, detector.mapper
    sample = mapper(detector.records[image_id])
    image = convert_image_to_rgb(sample["image"].permute(1, 2, 0), mapper.image_format)
    (predictions,) = dense_predictions(model, [sample])
    generator, gt = anchor_generator_of(model), sample["instances"]
    return sample, image, [view_object(predictions, generator, gt, index) for index in indices]
