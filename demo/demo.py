#!/usr/bin/env python
"""Draws the detections of a trained model on images, videos or what a camera sees.

demo.py --input images/
demo.py --config-file output/demo/config.yaml --input images/ --output pictures \
    --opts train.init_checkpoint=output/demo/model_final.pth
demo.py --onnx model.onnx --video-input street.mp4
"""

import argparse
import glob
import itertools
import json
import os
import sys
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from tqdm import tqdm

from detectron2.data.detection_utils import read_image
from detectron2.structures import Instances
from detectron2.utils.logger import setup_logger
from tood_d2 import model_zoo
from tood_d2.cli.arguments import add_overrides
from tood_d2.cli.messages import short_errors
from tood_d2.config import load_config
from tood_d2.evaluation.coco_results import coco_results
from tood_d2.inference import Predictor
from tood_d2.inference.drawing import draw_detections
from tood_d2.inference.optimization import DTYPES
from tood_d2.inference.video import VideoReader, video_writer

DEFAULT_MODEL = "tood_R_50_FPN_1x"
IMAGE_EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
WINDOW = "tood_d2: Esc ends"


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


def batches(items: Iterable, size: int) -> Iterator[list]:
    """Lists of so many items, the last one of what is left."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


class Demo:
    """Detects, selects, draws and collects."""

    def __init__(self, predictor, threshold: float, classes: list[str]):
        """
        Args:
            predictor: an ``ImagePredictor``, or a ``SlicedPredictor``.
            threshold: least score of a detection.
            classes: names of those to keep, empty for all.

        Raises:
            ValueError: if the predictor does not know a class.
        """
        names = predictor.class_names
        if unknown := [x for x in classes if x not in names]:
            raise ValueError(f"--classes {' '.join(unknown)}: not known, only {', '.join(names)}")
        self.predictor = predictor
        self.threshold = threshold
        self.classes = [names.index(x) for x in classes]
        self.results: list[dict] = []
        """Detections so far, in the form of COCO's results."""

    def detect(self, images: list[np.ndarray], names: list[str]) -> list[Instances]:
        """The selected detections of a batch of images (H, W, 3), BGR, named in the results."""
        selected = [self._select(x) for x in self.predictor.detect(images)]
        ids = self.predictor.category_ids
        for name, instances in zip(names, selected, strict=True):
            self.results += coco_results(instances, name, self.predictor.class_names, ids)
        return selected

    def draw(self, image: np.ndarray, instances: Instances) -> np.ndarray:
        """A picture (H, W, 3), BGR."""
        return draw_detections(image, instances, self.predictor.class_names).get_image()[:, :, ::-1]

    def _select(self, instances: Instances) -> Instances:
        kept = instances.scores >= self.threshold
        if self.classes:
            kept &= sum(instances.pred_classes == x for x in self.classes).bool()
        return instances[kept]


def draw_images(demo: Demo, paths: list[str], output: str, batch_size: int, logger) -> int:
    """Draws image files.

    Returns:
        How many could not be read.
    """
    num_skipped = 0
    outputs = output_paths(paths, output)
    with tqdm(total=len(paths), unit="image", disable=None) as progress:
        for batch in batches(zip(paths, outputs, strict=True), batch_size):
            images, kept = [], []
            for path, target in batch:
                try:
                    images.append(read_image(path, format="BGR"))
                    kept.append((path, target))
                except Exception as error:  # Pillow raises errors of many kinds on broken files
                    logger.error(f"{path}: not readable, skipped ({error})")
                    num_skipped += 1
            names = [os.path.basename(path) for path, _ in kept]
            found = demo.detect(images, names) if images else []
            for (_, target), image, instances in zip(kept, images, found, strict=True):
                cv2.imwrite(target, demo.draw(image, instances))
            progress.update(len(batch))
    print(f"{len(demo.results)} detections in {len(paths) - num_skipped} images, drawn in {output}")
    return num_skipped


def draw_video(demo: Demo, path: str, output: str, batch_size: int) -> None:
    """Draws a video file."""
    video, stem = VideoReader(path), os.path.splitext(os.path.basename(path))[0]
    target = os.path.join(output, f"{stem}.mp4")
    frames = enumerate(tqdm(video, total=len(video) or None, unit="frame", disable=None))
    with video_writer(target, video.size, video.rate) as writer:
        for batch in batches(frames, batch_size):
            images = [frame for _, frame in batch]
            found = demo.detect(images, [f"{stem}_{number:06d}" for number, _ in batch])
            for frame, instances in zip(images, found, strict=True):
                writer.write(demo.draw(frame, instances))
    print(f"{len(demo.results)} detections in {path}, drawn in {target}")


def show_camera(demo: Demo, camera: int) -> None:
    """Shows what a camera sees, with detections, until Esc is pressed."""
    for number, frame in enumerate(VideoReader(camera)):
        (instances,) = demo.detect([frame], [f"camera{camera}_{number:06d}"])
        cv2.imshow(WINDOW, demo.draw(frame, instances))
        if cv2.waitKey(1) == 27:
            break
    cv2.destroyAllWindows()


def build_predictor(args: argparse.Namespace):
    """The predictor that the arguments ask for.

    Raises:
        OSError, ValueError: if the model cannot be loaded.
    """
    if args.onnx:
        if args.config_file or args.opts or args.optimize or args.tta:
            raise ValueError("--onnx goes with none of --config-file, --opts, --optimize, --tta")
        from tood_d2.export.onnx_detector import ONNXPredictor

        predictor = ONNXPredictor(args.onnx)
    else:
        config, opts = args.config_file, args.opts
        if config is None:
            config = model_zoo.get_config_file(DEFAULT_MODEL)
            opts = [f"train.init_checkpoint=tood://{DEFAULT_MODEL}", *opts]
        cfg = load_config(config, opts)
        predictor = Predictor(cfg, optimize=DTYPES.get(args.optimize), tta=args.tta)
    if not args.slice_size:
        return predictor
    from tood_d2.inference.slicing import SlicedPredictor

    return SlicedPredictor(predictor, args.slice_size)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", help=f"config, .py or .yaml; by default {DEFAULT_MODEL}'s, for COCO")
    add("--onnx", metavar="FILE", help="model of tools/export_model.py, instead of a config")
    inputs = parser.add_mutually_exclusive_group(required=True)
    inputs.add_argument("--input", nargs="+", help="images, folders or globs")
    inputs.add_argument("--video-input", metavar="FILE", help="a video")
    inputs.add_argument(
        "--webcam", nargs="?", type=int, const=0, metavar="N", help="camera number N (0), shown"
    )
    add("--output", default="demo_output", help="folder for the pictures (demo_output)")
    add("--save-json", metavar="FILE", help="for the detections, in the form of COCO's results")
    add("--confidence-threshold", type=float, default=0.3, help="least score (0.3)")
    add("--classes", nargs="+", default=[], metavar="NAME", help="of detections to keep (all)")
    add("--batch-size", type=int, default=1, help="images that are detected in together (1)")
    add("--optimize", choices=DTYPES, help="make the model faster, running in this type")
    add("--tta", action="store_true", help="detect by test-time augmentation")
    add("--slice-size", type=int, metavar="PIXELS", help="detect in slices of large images, too")
    add_overrides(parser)
    args = parser.parse_args()
    if not 0 <= args.confidence_threshold <= 1:
        parser.error(f"--confidence-threshold {args.confidence_threshold}: scores are from 0 to 1")
    if args.batch_size < 1:
        parser.error(f"--batch-size {args.batch_size}: should be at least 1")
    if args.slice_size is not None and args.slice_size < 32:
        parser.error(f"--slice-size {args.slice_size}: should be at least 32")
    return args


def main() -> int:
    args = parse_args()
    logger = setup_logger(name="tood_d2")
    setup_logger(name="fvcore")
    num_skipped = 0
    with short_errors("demo.py"):
        paths = find_images(args.input or [])
        if args.save_json and not os.path.isdir(os.path.dirname(args.save_json) or "."):
            raise NotADirectoryError(f"--save-json {args.save_json}: its folder does not exist")
        demo = Demo(build_predictor(args), args.confidence_threshold, args.classes)
        if args.webcam is not None:
            show_camera(demo, args.webcam)
        else:
            os.makedirs(args.output, exist_ok=True)
            if args.video_input:
                draw_video(demo, args.video_input, args.output, args.batch_size)
            else:
                num_skipped = draw_images(demo, paths, args.output, args.batch_size, logger)
        if args.save_json:
            with open(args.save_json, "w") as f:
                json.dump(demo.results, f)
    return 1 if num_skipped else 0


if __name__ == "__main__":
    sys.exit(main())
