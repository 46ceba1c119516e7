"""Detections drawn on image files, videos and what a camera sees."""

import glob
import itertools
import logging
import os
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from detectron2.data.detection_utils import read_image

from ..evaluation import coco_results
from .drawing import draw_detections
from .predictor import ImagePredictor
from .video import VideoReader, video_writer

logger = logging.getLogger(__name__)

IMAGE_EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
WINDOW = "tood_d2: Esc ends"


def find_images(inputs: Sequence[str]) -> list[str]:
    """The files that arguments name: files, folders (their images) and globs.

    Raises:
        FileNotFoundError: names an argument without any file.
    """
    paths = []
    for item in inputs:
        if os.path.isdir(item):  # glob leaves out hidden files
            found = glob.glob("*", root_dir=item)
            found = [os.path.join(item, x) for x in found if x.lower().endswith(IMAGE_EXTENSIONS)]
        else:
            found = [item] if os.path.isfile(item) else glob.glob(item, recursive=True)
        if not found:
            raise FileNotFoundError(f"{item}: no such image, or no image in it")
        paths += sorted(found)
    return paths


def output_paths(paths: Sequence[str], output: str) -> list[str]:
    """A file in the output folder for each image, under its own name, numbered if that is taken.

    Raises:
        ValueError: if an image would be overwritten.
    """
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
    inputs = {os.path.realpath(path) for path in paths}
    if taken := [path for path in results if os.path.realpath(path) in inputs]:
        raise ValueError(f"{taken[0]} is an input: give another folder as --output")
    return results


class Demo:
    """Detects, selects, draws and collects.

    Attributes:
        results: detections so far, in the form of COCO's results.
    """

    def __init__(self, predictor: ImagePredictor, threshold: float, classes: Sequence[str] = ()):
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
        self.predictor, self.threshold = predictor, threshold
        self.classes = [names.index(x) for x in classes]
        self.results: list[dict] = []

    def draw_images(self, paths: Sequence[str], output: str, batch_size: int) -> int:
        """Draws image files into a folder.

        Returns:
            How many could not be read.
        """
        outputs, kept = output_paths(paths, output), []

        def read() -> Iterator[tuple[str, np.ndarray]]:
            progress = tqdm(paths, unit="image", disable=None)
            for path, target in zip(progress, outputs, strict=True):
                try:
                    image = read_image(path, format="RGB")
                except Exception as error:  # Pillow raises errors of many kinds
                    logger.error(f"{path}: not readable, skipped ({error})")
                else:
                    kept.append(target)
                    yield os.path.basename(path), image

        for number, picture in enumerate(self._draw(read(), batch_size)):
            Image.fromarray(picture).save(kept[number])
        print(f"{len(self.results)} detections in {len(kept)} images, drawn in {output}")
        return len(paths) - len(kept)

    def draw_video(self, path: str, output: str, batch_size: int) -> None:
        """Draws a video file into a folder.

        Raises:
            ValueError: if the video would be overwritten.
        """
        stem = os.path.splitext(os.path.basename(path))[0]
        target = os.path.join(output, f"{stem}.mp4")
        if os.path.realpath(target) == os.path.realpath(path):
            raise ValueError(f"{target} is the input: give another folder as --output")
        video = VideoReader(path)
        frames = enumerate(tqdm(video, total=len(video) or None, unit="frame", disable=None))
        images = ((f"{stem}_{number:06d}", frame) for number, frame in frames)
        with video_writer(target, video.size, video.rate) as write:
            for picture in self._draw(images, batch_size):
                write(picture)
        print(f"{len(self.results)} detections in {path}, drawn in {target}")

    def show_camera(self, camera: int) -> None:
        """Shows what a camera sees, with detections, until Esc is pressed."""
        frames = enumerate(VideoReader(camera))
        images = ((f"camera{camera}_{number:06d}", frame) for number, frame in frames)
        for picture in self._draw(images, batch_size=1):
            cv2.imshow(WINDOW, picture[:, :, ::-1])
            if cv2.waitKey(1) == 27:
                break
        cv2.destroyAllWindows()

    def _draw(
        self, images: Iterator[tuple[str, np.ndarray]], batch_size: int
    ) -> Iterator[np.ndarray]:
        """Draws images (H, W, 3), RGB, and collects their detections under their names."""
        predictor = self.predictor
        while batch := list(itertools.islice(images, batch_size)):
            found = predictor.detect([image for _, image in batch])
            for (name, image), x in zip(batch, found, strict=True):
                x = x[x.scores >= self.threshold]
                if self.classes:
                    x = x[torch.isin(x.pred_classes, torch.tensor(self.classes))]
                self.results += coco_results(x, name, predictor.class_names, predictor.category_ids)
                yield draw_detections(image, x, predictor.class_names).get_image()
