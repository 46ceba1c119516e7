"""A model of the page and its images to try."""

import logging
import os
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ..config import Run
from ..data.coco.dataset import load_coco
from ..data.images import read_upload
from ..inference.dense_predictor import DensePredictor
from ..inference.runtimes import ExportedPredictor
from ..text import printable

NUM_EXAMPLES = 6
THUMBNAIL_SIDE = 160  # pixels

logger = logging.getLogger(__name__)


class Model(NamedTuple):
    """A model that is loaded."""

    predictor: DensePredictor | ExportedPredictor
    examples: Sequence[str]
    """Files of images to try."""

    def warm_up(self) -> None:
        """Runs the network once, as its first run takes longer than those to measure."""
        self.predictor.predict(np.zeros((480, 640, 3), np.uint8))


def find_test_images(run: Run) -> list[str]:
    """The image files of a run's test data, none if its annotations are not there."""
    options = run.options
    try:
        names = load_coco(options.test_json).file_names
    except (OSError, ValueError):
        return []
    return [os.path.join(options.test_images, name) for name in names]


def choose_examples(paths: Sequence[str]) -> tuple[list[str], list[np.ndarray]]:
    """Chooses readable images evenly from many.

    Returns:
        At most ``NUM_EXAMPLES`` files, and small pictures (H, W, 3) uint8 RGB of them.
    """
    numbers = np.linspace(0, len(paths) - 1, min(len(paths), NUM_EXAMPLES)).round().astype(int)
    chosen, thumbnails = [], []
    for number in numbers:
        try:
            image = read_upload(paths[number])
        except (OSError, ValueError) as error:
            logger.warning(printable(f"no example: {error}"))
            continue
        height, width = image.shape[:2]
        scale = THUMBNAIL_SIDE / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        thumbnails.append(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        chosen.append(paths[number])
    return chosen, thumbnails
