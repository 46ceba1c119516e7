"""A model that a server asks."""

import threading

from detectron2.structures import Instances

from ..data.images import read_image
from ..inference.predictor import ImagePredictor


class ServedModel:
    """A model that answers one request at a time, whoever asks.

    Attributes:
        version: tells it from others, the same whenever it is served.
        class_names: that it detects.
    """

    def __init__(self, predictor: ImagePredictor, version: str, score_thresh: float):
        self.version, self.class_names = version, tuple(predictor.class_names)
        self._predictor, self._score_thresh = predictor, score_thresh
        self._lock = threading.Lock()

    def detect(self, path: str) -> Instances:
        """The detections in an image file from the least score on.

        Raises:
            FileNotFoundError, ValueError: see :func:`.read_image`.
        """
        image = read_image(path, "RGB")
        with self._lock:
            (instances,) = self._predictor.detect([image])
        return instances[instances.scores >= self._score_thresh]
