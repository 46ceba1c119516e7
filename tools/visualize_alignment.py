#!/usr/bin/env python
"""Draws where a detector, or two, classifies and localises objects best (Figure 4 of the paper).

visualize_alignment.py --config-file configs/tood_R_50_FPN_1x.py \
    --opts train.init_checkpoint=tood://tood_R_50_FPN_1x --image-ids 139 285
"""

import argparse
import os
import sys
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

import numpy as np
from torch import nn
from tqdm import tqdm

from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.data.detection_utils import convert_image_to_rgb
from detectron2.utils.logger import setup_logger
from tood_d2.checkpoint import load_weights, weights_of
from tood_d2.cli.messages import short_errors
from tood_d2.config import annotated_test_data, build_model, class_names, load_config
from tood_d2.inference import check_supported, dense_predictions
from tood_d2.inspection import (
    ObjectView,
    anchor_generator_of,
    draw_internals,
    draw_object,
    head_internals,
    view_object,
)
from tood_d2.modeling import TaskAlignedHead

NUM_IMAGES = 5


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


def load(config_file: str, opts: list[str]) -> Detector:
    """The trained model of a config and its test data, with ground truth."""
    cfg = load_config(config_file, opts)
    records, mapper = annotated_test_data(cfg)
    model = build_model(cfg)
    check_supported(model)
    load_weights(model, *weights_of(cfg))
    records = {str(record["image_id"]): record for record in records}
    weights = cfg.MODEL.WEIGHTS if isinstance(cfg, CfgNode) else cfg.train.init_checkpoint
    return Detector(weights, model, records, mapper, class_names(cfg))


def num_objects(detector: Detector, image_id: str) -> int:
    """Number of an image's objects as training would take them: without crowds and empty boxes."""
    record = detector.records[image_id]
    return len(detector.mapper(record)["instances"]) if record.get("annotations") else 0


def choose_objects(
    detector: Detector, image_ids: list[str] | None, indices: list[int] | None
) -> dict[str, list[int]]:
    """The objects to draw of each image.

    Args:
        detector: whose data are meant.
        image_ids: of the images, by default the first ``NUM_IMAGES`` with objects.
        indices: of the objects in each of these images, by default all.

    Raises:
        ValueError: names an image or an object that does not exist.
    """
    if image_ids is None:
        with_objects = (x for x in detector.records if num_objects(detector, x))
        image_ids = list(islice(with_objects, NUM_IMAGES))
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
    for image_id in image_ids:
        same = image_id in second.records and (
            num_objects(first, image_id) == num_objects(second, image_id)
        )
        if not same:
            raise ValueError(f"{first.name} and {second.name} differ in image {image_id}")


def view_objects(
    detector: Detector, image_id: str, indices: list[int]
) -> tuple[dict, np.ndarray, list[ObjectView]]:
    """The model's input with ground truth, the image in it (RGB), and views of its objects."""
    sample = detector.mapper(detector.records[image_id])
    image = convert_image_to_rgb(sample["image"].permute(1, 2, 0), detector.mapper.image_format)
    (predictions,) = dense_predictions(detector.model, [sample])
    generator, gt = anchor_generator_of(detector.model), sample["instances"]
    return sample, image, [view_object(predictions, generator, gt, index) for index in indices]


def draw(
    detectors: list[Detector], objects: dict[str, list[int]], output: str, internals: bool
) -> None:
    """Writes a picture of each object and, if asked to, one of each image's internals."""
    names = [detector.name for detector in detectors]
    for image_id, indices in tqdm(objects.items(), unit="image"):
        samples, images, views = zip(
            *(view_objects(detector, image_id, indices) for detector in detectors), strict=True
        )
        for index, *views_of_object in zip(indices, *views, strict=True):
            cls = detectors[0].class_names[samples[0]["instances"].gt_classes[index]]
            rows = list(zip(names, images, views_of_object, strict=True))
            figure = draw_object(rows, f"{cls} (image {image_id}, object {index})")
            figure.savefig(os.path.join(output, f"{image_id}_{index}.png"))
        if internals:
            figure = draw_internals(
                images[0], views[0], head_internals(detectors[0].model, samples[0])
            )
            figure.savefig(os.path.join(output, f"{image_id}_internals.png"))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="config of any detector, .py or .yaml")
    parser.add_argument(
        "--opts",
        nargs="*",
        default=[],
        help="config overrides: train.init_checkpoint=FILE, or MODEL.WEIGHTS FILE for YAML",
    )
    parser.add_argument("--other-config-file", help="config of a detector to compare with")
    parser.add_argument("--other-opts", nargs="*", default=[], help="overrides of that config")
    parser.add_argument(
        "--image-ids",
        nargs="+",
        help=f"in the data set, by default those of the first {NUM_IMAGES} images with objects",
    )
    parser.add_argument(
        "--objects", nargs="+", type=int, help="indices within each image, by default all"
    )
    parser.add_argument(
        "--output", default="output/alignment_figures", help="folder for the pictures"
    )
    parser.add_argument(
        "--internals",
        action="store_true",
        help="also draw the layer attention and the offsets of the (first) detector's T-head",
    )
    args = parser.parse_args()
    if args.other_opts and args.other_config_file is None:
        parser.error("--other-opts needs --other-config-file")
    for name in ("fvcore", "tood_d2"):
        setup_logger(name=name)
    with short_errors(parser.prog):
        os.makedirs(args.output, exist_ok=True)
        detectors = [load(args.config_file, args.opts)]
        objects = choose_objects(detectors[0], args.image_ids, args.objects)
        if args.internals and not isinstance(detectors[0].model.head, TaskAlignedHead):
            raise ValueError("--internals needs a detector with a task-aligned head")
        if args.other_config_file is not None:
            detectors.append(load(args.other_config_file, args.other_opts))
            check_same_objects(*detectors, objects)
    draw(detectors, objects, args.output, args.internals)
    print(f"{sum(map(len, objects.values()))} objects, drawn in {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
