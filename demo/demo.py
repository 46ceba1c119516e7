#!/usr/bin/env python
"""Draws the detections of a trained model on images.

demo.py --input images/
demo.py --config-file output/demo/config.yaml --input images/ --output pictures \
    --opts train.init_checkpoint=output/demo/model_final.pth
"""

import argparse
import glob
import os
import sys

import numpy as np
from tqdm import tqdm

from detectron2.data import Metadata
from detectron2.data.detection_utils import read_image
from detectron2.structures import Instances
from detectron2.utils.logger import setup_logger
from detectron2.utils.visualizer import ColorMode, Visualizer
from tood_d2 import model_zoo
from tood_d2.engine import Predictor, load_config
from tood_d2.engine.errors import short_errors
from tood_d2.inference import DTYPES

DEFAULT_MODEL = "tood_R_50_FPN_1x"
IMAGE_EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def find_images(inputs: list[str]) -> list[str]:
    """The files that the arguments name: files, folders (their images) and globs.

    Raises:
        FileNotFoundError: names an argument without any file.
    """
    paths = []
    for item in inputs:
        if os.path.isdir(item):
            found = sorted(
                entry.path
                for entry in os.scandir(item)
                if entry.name.lower().endswith(IMAGE_EXTENSIONS)
            )
        else:
            found = [item] if os.path.isfile(item) else sorted(glob.glob(item, recursive=True))
        if not found:
            raise FileNotFoundError(f"{item}: no such image, or no image in it")
        paths += found
    return paths


def draw(image: np.ndarray, instances: Instances, class_names: list[str], threshold: float):
    """Draws the instances with at least a score; ``image`` is BGR.

    Returns:
        The drawing (``VisImage``) and the number of instances in it.
    """
    instances = instances[instances.scores >= threshold]
    metadata = Metadata(thing_classes=class_names)
    visualizer = Visualizer(image[:, :, ::-1], metadata, instance_mode=ColorMode.IMAGE)
    return visualizer.draw_instance_predictions(instances), len(instances)


def output_paths(paths: list[str], output: str) -> list[str]:
    """A file in the output folder for each image, under its own name, numbered if that is taken."""
    used, results = set(), []
    for path in paths:
        stem, extension = os.path.splitext(os.path.basename(path))
        if extension.lower() not in (".jpg", ".jpeg", ".png"):
            extension = ".png"
        name, number = stem + extension, 1
        while name in used:
            name, number = f"{stem}_{number}{extension}", number + 1
        used.add(name)
        results.append(os.path.join(output, name))
    return results


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config-file", help=f"config, .py or .yaml; by default {DEFAULT_MODEL}'s, trained on COCO"
    )
    parser.add_argument("--input", nargs="+", required=True, help="images, folders or globs")
    parser.add_argument("--output", default="demo_output", help="folder for the pictures")
    parser.add_argument("--confidence-threshold", type=float, default=0.3, help="score to draw")
    parser.add_argument(
        "--optimize", choices=DTYPES, help="make the model faster, running in this type"
    )
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        help="config overrides: train.init_checkpoint=FILE, or MODEL.WEIGHTS FILE for YAML",
    )
    args = parser.parse_args()
    if not 0 <= args.confidence_threshold <= 1:
        parser.error(f"--confidence-threshold {args.confidence_threshold}: scores are from 0 to 1")
    logger = setup_logger(name="tood_d2")
    setup_logger(name="fvcore")
    with short_errors(parser.prog):
        paths = find_images(args.input)
        os.makedirs(args.output, exist_ok=True)
        config, opts = args.config_file, args.opts
        if config is None:
            config = model_zoo.get_config_file(DEFAULT_MODEL)
            opts = [f"train.init_checkpoint=tood://{DEFAULT_MODEL}", *opts]
        predictor = Predictor(load_config(config, opts), optimize=DTYPES.get(args.optimize))

    num_skipped = num_drawn = 0
    for path, output in zip(
        tqdm(paths, unit="image", disable=None), output_paths(paths, args.output), strict=True
    ):
        try:
            image = read_image(path, format="BGR")
        except Exception as error:  # Pillow raises errors of many kinds on broken files
            logger.error(f"{path}: not readable, skipped ({error})")
            num_skipped += 1
            continue
        drawing, count = draw(
            image, predictor(image), predictor.class_names, args.confidence_threshold
        )
        drawing.save(output)
        num_drawn += count
    num_pictures = len(paths) - num_skipped
    print(f"{num_drawn} detections in {num_pictures} images, drawn in {args.output}")
    return 1 if num_skipped else 0


if __name__ == "__main__":
    sys.exit(main())
