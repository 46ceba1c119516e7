"""Detections for any thresholds from one run of the network."""

import logging
import time
from typing import NamedTuple

import numpy as np

from detectron2.data.detection_utils import convert_image_to_rgb
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Instances

from ..config.run import Run
from ..modeling.postprocessing import select_detections
from .dense_predictions import DensePredictions, check_supported, dense_predictions
from .predictor import Predictor

logger = logging.getLogger(__name__)


class ImagePredictions(NamedTuple):
    """What a detector predicts everywhere in an image."""

    batched_input: dict
    """What the network was given: "image", (C, H, W), "height" and "width" of the image."""
    dense: DensePredictions
    """On the CPU, in pixels of the network input."""


class DensePredictor(Predictor):
    """Runs a detector once on an image, to select detections for different thresholds.

    With the config's thresholds these are a ``Predictor``'s. (Where Detectron2's own detectors do
    not clip boxes before NMS, this one does.)

    Attributes:
        num_passes: how often the network has run.

    Raises:
        TypeError: if the dense predictions of the detector are not known.
    """

    def __init__(self, run: Run):
        super().__init__(run)
        check_supported(self.model)
        self.num_passes = 0

    def predict(self, image: np.ndarray) -> ImagePredictions:
        """Runs the network on an image, (H, W, 3) uint8 RGB."""
        start = time.perf_counter()
        batched_input = self.batched_input(image)
        (dense,) = dense_predictions(self.model, [batched_input])
        dense = dense._replace(scores=dense.scores.cpu(), boxes=dense.boxes.cpu())
        self.num_passes += 1
        seconds = time.perf_counter() - start
        height, width = image.shape[:2]
        size = f"{width} x {height} pixels"
        logger.info(f"Network run {self.num_passes}: {size} in {seconds:.2f} seconds")
        return ImagePredictions(batched_input, dense)

    def select(
        self,
        predictions: ImagePredictions,
        score_thresh: float | None = None,
        nms_thresh: float | None = None,
        classes: list[int] | None = None,
    ) -> Instances:
        """Selects detections without running the network.

        Args:
            predictions: of the image.
            score_thresh, nms_thresh: see :func:`select_detections`; the config's by default.
            classes: indices of the classes wanted, all by default.

        Returns:
            The detections as a ``Predictor`` gives them, on the CPU.
        """
        dense, model = predictions.dense, self.model
        instances = select_detections(
            dense.split(dense.class_scores(classes)),
            dense.split(dense.boxes),
            dense.image_size,
            score_thresh=model.test_score_thresh if score_thresh is None else score_thresh,
            topk_candidates=model.test_topk_candidates,
            nms_thresh=model.test_nms_thresh if nms_thresh is None else nms_thresh,
            max_detections=model.max_detections_per_image,
            # Detectron2's detectors have hard NMS alone.
            nms_type=getattr(model, "test_nms_type", "hard"),
            soft_nms_sigma=getattr(model, "test_soft_nms_sigma", 0.5),
        )
        sample = predictions.batched_input
        return detector_postprocess(instances, sample["height"], sample["width"])

    def network_image(self, predictions: ImagePredictions) -> np.ndarray:
        """(H, W, 3) uint8 RGB, the image as the network was given it."""
        image = predictions.batched_input["image"].permute(1, 2, 0)
        return convert_image_to_rgb(image, self.input_format)
