"""Detections drawn on image files, videos and what a camera sees."""

import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from ..cli.outputs import save_picture, short_name
from ..data.images import read_image, reason_of
from ..evaluation import coco_results
from ..text import printable
from .drawing import draw_detections
from .image_files import output_paths, result_names
from .predictor import ImagePredictor
from .video import VideoReader, video_writer

logger = logging.getLogger(__name__)

WINDOW = "tood_d2: Esc ends"


def video_path(video: str, output: str) -> str:
    """The file in the output folder for a video."""
    stem = os.path.splitext(os.path.basename(video))[0]
    return os.path.join(output, short_name(stem, ".mp4"))


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
            message = f"--classes {' '.join(unknown)}: not known, only {', '.join(names)}"
            raise ValueError(printable(message))
        self.predictor, self.threshold = predictor, threshold
        self.classes = [names.index(x) for x in classes]
        self.results: list[dict] = []

    def draw_images(self, paths: Sequence[str], output: str, batch_size: int) -> int:
        """Draws image files into a folder, which has to exist.

        Returns:
            How many could not be read.

        Raises:
            OSError: if a picture cannot be written.
        """
        targets, names = output_paths(paths, output), result_names(paths)
        kept: list[str] = []

        def read() -> Iterator[tuple[tuple[str, int | str], np.ndarray]]:
            progress = tqdm(paths, unit="image", disable=None)
            for path, target, name in zip(progress, targets, names, strict=True):
                try:
                    image = read_image(path, "RGB")
                except (OSError, ValueError, MemoryError) as error:
                    message = f"{path}: not readable, skipped ({_reason(error, path)})"
                    logger.error(printable(message))
                else:
                    kept.append(target)
                    yield name, image

        for number, picture in enumerate(self._draw(read(), batch_size)):
            save_picture(picture, kept[number])
        num_results = len(self.results)
        print(f"{num_results} detections in {len(kept)} images, drawn in {printable(output)}")
        return len(paths) - len(kept)

    def draw_video(self, path: str, output: str, batch_size: int) -> None:
        """Draws a video file into a folder, which has to exist.

        Raises:
            OSError: if the video cannot be read, or that of the detections not be written.
        """
        target, video = video_path(path, output), VideoReader(path)
        stem = os.path.splitext(os.path.basename(path))[0]
        frames = tqdm(video, total=len(video) or None, unit="frame", disable=None)
        with video_writer(target, video.size, video.rate) as write:
            for picture in self._draw(_name_frames(stem, frames), batch_size):
                write(picture)
        names = printable(path), printable(target)
        print("{} detections in {}, drawn in {}".format(len(self.results), *names))

    def show_camera(self, camera: int) -> None:
        """Shows what a camera sees, with detections, until Esc is pressed."""
        images = _name_frames(f"camera{camera}", VideoReader(camera))
        for picture in self._draw(images, batch_size=1):
            cv2.imshow(WINDOW, picture[:, :, ::-1])
            if cv2.waitKey(1) == 27:
                break
        cv2.destroyAllWindows()

    def _draw(
        self, images: Iterator[tuple[tuple[str, int | str], np.ndarray]], batch_size: int
    ) -> Iterator[np.ndarray]:
        """Draws images (H, W, 3), RGB, and collects their detections.

        Args:
            images: each with its ``file_name`` and ``image_id``, see :func:`.result_names`.
            batch_size: how many are detected in together.
        """
        predictor = self.predictor
        classes = predictor.class_names, predictor.category_ids
        begun = deque()

        def read() -> Iterator[np.ndarray]:
            for item in images:
                begun.append(item)
                yield item[1]

        for x in predictor.detect_all(read(), batch_size):
            (file_name, image_id), image = begun.popleft()
            x = x[x.scores >= self.threshold]
            if self.classes:
                x = x[torch.isin(x.pred_classes, torch.tensor(self.classes))]
            self.results += coco_results(x, file_name, *classes, image_id)
            yield draw_detections(image, x, predictor.class_names).get_image()


def _name_frames(
    stem: str, frames: Iterable[np.ndarray]
) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    for number, frame in enumerate(frames):
        name = f"{stem}_{number:06d}"
        yield (name, name), frame


def _reason(error: Exception, path: str) -> str:
    if isinstance(error.__cause__, Image.DecompressionBombError):
        return f"{error.__cause__} --max-megapixels allows more"
    return reason_of(error, path)
