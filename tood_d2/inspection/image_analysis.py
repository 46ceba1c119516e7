"""One image as one detector sees it."""

import copy
import time
from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np

from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Instances
from detectron2.utils.visualizer import VisImage

from ..evaluation import coco_results
from ..inference.dense_predictor import DensePredictor
from ..inference.drawing import draw_detections
from ..inference.runtimes import ExportedPredictor
from .head_analysis import HeadAnalysis

DRAWN_SIDES = (640, 1600)
"""Pixels of a picture's longer side: smaller ones have no room for labels, larger ones are slow."""


class ImageAnalysis:
    """What a detector makes of an image. The network runs once, when this is made.

    Attributes:
        predictor: the detector.
        detections: function that selects detections, see :meth:`.DensePredictor.select`.
        head: what happens inside the head, None of an exported model.
        network_seconds: what the network took, with resizing the image for it.
    """

    def __init__(self, predictor: DensePredictor | ExportedPredictor, image: np.ndarray):
        """
        Args:
            predictor: the detector.
            image: (H, W, 3) uint8 RGB.
        """
        self.predictor, self.image = predictor, image
        start = time.perf_counter()
        predictions = predictor.predict(image)
        self.network_seconds = time.perf_counter() - start
        self.detections = partial(predictor.select, predictions)
        is_dense = isinstance(predictor, DensePredictor)
        self.head = HeadAnalysis(predictor, predictions) if is_dense else None

    def results(self, instances: Instances, file_name: str) -> list[dict]:
        """Detections in the form of COCO's results, see :func:`.coco_results`."""
        predictor = self.predictor
        return coco_results(instances, file_name, predictor.class_names, predictor.category_ids)

    def draw(self, instances: Instances, color_numbers: Sequence[int] | None = None) -> VisImage:
        """Draws detections on the image, see :func:`draw_scaled`."""
        return draw_scaled(self.image, instances, self.predictor.class_names, color_numbers)


def draw_scaled(
    image: np.ndarray,
    instances: Instances,
    class_names: list[str],
    color_numbers: Sequence[int] | None = None,
) -> VisImage:
    """Draws as :func:`.draw_detections`, on an image that has a size of ``DRAWN_SIDES``."""
    side = max(image.shape[:2])
    scale = np.clip(side, *DRAWN_SIDES) / side
    if scale != 1:
        height, width = (max(1, round(x * scale)) for x in image.shape[:2])
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = cv2.resize(image, (width, height), interpolation=interpolation)
        # It scales the boxes that it is given.
        instances = detector_postprocess(copy.deepcopy(instances), height, width)
    return draw_detections(image, instances, class_names, color_numbers)
