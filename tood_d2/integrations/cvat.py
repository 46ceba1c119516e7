"""A detection function for CVAT's automatic annotation, by its own package ``cvat_sdk``.

    cvat-cli task auto-annotate ID --function-module tood_d2.integrations.cvat \\
        -p config_file=str:output/mine/config.yaml -p weights=str:output/mine/model_final.pth

CVAT finds labels by the names of the model's classes; its ``--allow-unmatched-labels`` leaves out
classes that a task has no label for.
"""

import cvat_sdk.auto_annotation as cvataa
import numpy as np
from cvat_sdk.models import LabeledShapeRequest
from PIL import Image, ImageOps

from ..config import load_run
from ..inference.predictor import ImagePredictor, Predictor


class DetectionFunction:
    """What CVAT calls for each image of a task.

    Attributes:
        spec: the classes, as labels of rectangles.
    """

    def __init__(self, predictor: ImagePredictor, score_thresh: float):
        """
        Args:
            predictor: that detects.
            score_thresh: least score where CVAT asks for none (``--conf-threshold``).
        """
        self._predictor, self._score_thresh = predictor, score_thresh
        names = enumerate(predictor.class_names)
        labels = [cvataa.label_spec(name, number, type="rectangle") for number, name in names]
        self.spec = cvataa.DetectionFunctionSpec(labels=labels)

    def detect(
        self, context: cvataa.DetectionFunctionContext, image: Image.Image
    ) -> list[LabeledShapeRequest]:
        """Rectangles in pixels of the image, once it is turned as its EXIF data say."""
        pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        (instances,) = self._predictor.detect([pixels])
        asked = context.conf_threshold
        instances = instances[instances.scores >= (self._score_thresh if asked is None else asked)]
        boxes, numbers = instances.pred_boxes.tensor.tolist(), instances.pred_classes.tolist()
        return [cvataa.rectangle(x, box) for x, box in zip(numbers, boxes, strict=True)]


def create(
    config_file: str, weights: str = "", score_thresh: float = 0.3
) -> cvataa.DetectionFunction:
    """Makes the function of a trained model; ``cvat-cli`` calls it with its parameters ``-p``.

    Args:
        config_file: see :func:`tood_d2.config.load_run`.
        weights: instead of those of the config.
        score_thresh: see :class:`DetectionFunction`.

    Raises:
        OSError, ValueError: see :func:`tood_d2.config.load_run` and :class:`.Predictor`.
    """
    return DetectionFunction(Predictor(load_run(config_file, weights=weights)), score_thresh)
