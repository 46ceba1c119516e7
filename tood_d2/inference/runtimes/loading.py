"""Which runtime runs which file."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from detectron2.data.transforms import ResizeShortestEdge
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Instances

from ..optimization import find_dtype
from ..predictor import ImagePredictor
from .exported import ExportedDetector


def load_exported(
    path: str, num_requests: int = 1, optimize: str | None = None
) -> ExportedDetector:
    """An exported model, run by ONNX Runtime (.onnx) or OpenVINO (.xml).

    Args:
        path: of the file.
        num_requests: inputs that OpenVINO shall have in work at once, see
            :meth:`.OpenVINODetector.load`. ONNX Runtime has one.
        optimize: type of :func:`.find_dtype` that OpenVINO shall compute in, by default float32.
            ONNX Runtime takes those that are in the file.

    Raises:
        ValueError: if it is no such file, or ONNX Runtime shall compute in another type.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".xml":
        from .openvino_runtime import OpenVINODetector  # only those who use it need OpenVINO

        dtype = find_dtype(optimize or "float32", torch.device("cpu"))
        return OpenVINODetector.load(path, num_requests, dtype)
    if suffix != ".onnx":
        raise ValueError(f"{path}: an exported model is a file .onnx or .xml")
    if optimize is not None:
        raise ValueError(f"{path}: --optimize is for .xml files, .onnx files have their types")
    from .onnx_runtime import ONNXDetector

    return ONNXDetector(path)


class ExportedPredictions(NamedTuple):
    """What an exported model gives for an image."""

    batched_input: dict
    """What it was given, see :meth:`.ImagePredictor.batched_input`."""
    outputs: list[Tensor]
    """See :meth:`.ExportedDetector.predict`."""


class ExportedPredictor(ImagePredictor):
    """Detects in images by an exported model."""

    model: ExportedDetector

    def __init__(self, path: str, num_requests: int = 1, optimize: str | None = None):
        """See :func:`load_exported`."""
        model = load_exported(path, num_requests, optimize)
        metadata = model.metadata
        resize = ResizeShortestEdge(metadata.short_edge_length, metadata.max_size)
        names, ids = metadata.class_names, metadata.category_ids
        super().__init__(model, [resize], metadata.input_format, names, ids)

    def detect_all(self, images: Iterable[np.ndarray], batch_size: int = 1) -> Iterator[Instances]:
        if self.model.num_requests == 1:
            yield from super().detect_all(images, batch_size)
        else:
            for found in self.model.stream(map(self.batched_input, images)):
                yield found["instances"]

    def predict(self, image: np.ndarray) -> ExportedPredictions:
        """Runs the model on an image, (H, W, 3) uint8 RGB."""
        batched_input = self.batched_input(image)
        return ExportedPredictions(batched_input, self.model.predict(batched_input))

    def select(
        self,
        predictions: ExportedPredictions,
        score_thresh: float | None = None,
        nms_thresh: float | None = None,
        classes: Sequence[int] | None = None,
    ) -> Instances:
        """Selects detections without running the model.

        Args:
            predictions: of the image.
            score_thresh, nms_thresh: see :meth:`.ExportedDetector.select`.
            classes: indices of the classes wanted, all by default.
        """
        sample, (boxes, scores, labels) = predictions
        if classes:
            scores = scores.where(torch.isin(labels, torch.tensor(classes)), 0)
        size = sample["image"].shape[1:]
        found = self.model.select(size, boxes, scores, labels, score_thresh, nms_thresh)
        return detector_postprocess(found, sample["height"], sample["width"])
