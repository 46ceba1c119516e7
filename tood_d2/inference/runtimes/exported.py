"""Exported detectors in the place of Detectron2's models."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from detectron2.layers import batched_nms
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, ImageList, Instances

from .metadata import Metadata


class ExportedDetector(ABC):
    """Runs a file of ``tools/export_model.py``, with inputs and outputs of a ``DenseDetector``.

    Attributes:
        metadata: of the file.
        num_channels: of the images.
        num_requests: how many inputs are in work at once.
    """

    metadata: Metadata
    num_channels: int
    num_requests: int = 1

    @abstractmethod
    def run(self, images: Tensor, image_sizes: Tensor) -> list[Tensor]:
        """The outputs of the model; see :class:`.CandidateDetector` for its inputs."""

    def run_all(self, inputs: Iterable[ImageList]) -> Iterator[list[Tensor]]:
        """The outputs for one input after the other, in their order."""
        for batch in inputs:
            yield self.run(batch.tensor, torch.tensor(batch.image_sizes))

    @property
    def test_nms_thresh(self) -> float:
        """As Detectron2's models call it."""
        return self.metadata.nms_thresh

    @property
    def max_detections_per_image(self) -> int:
        """As Detectron2's models call it."""
        return self.metadata.max_detections

    def __call__(self, batched_inputs: list[dict]) -> list[dict]:
        """Detects as ``DenseDetector`` does in evaluation mode.

        Args:
            batched_inputs: N dicts with "image", (C, H, W), and, to scale boxes to, "height" and
                "width".

        Returns:
            N dicts with "instances".
        """
        if self.num_requests > 1:
            return list(self.stream(batched_inputs))
        batch = self._collate(batched_inputs)
        (outputs,) = self.run_all([batch])
        return self._results(batched_inputs, batch, outputs)

    def stream(self, samples: Iterable[dict]) -> Iterator[dict]:
        """Detects in one sample after the other; takes the next ones while it waits.

        Args:
            samples: as in :meth:`__call__`.

        Returns:
            Dicts with "instances", in the order of the samples.
        """
        begun: list[tuple[dict, ImageList]] = []

        def inputs() -> Iterator[ImageList]:
            for sample in samples:
                begun.append((sample, self._collate([sample])))
                yield begun[-1][1]

        for outputs in self.run_all(inputs()):
            sample, batch = begun.pop(0)
            yield from self._results([sample], batch, outputs)

    def _collate(self, samples: list[dict]) -> ImageList:
        return ImageList.from_tensors(
            [x["image"] for x in samples], self.metadata.size_divisibility
        )

    def _results(self, samples: list[dict], batch: ImageList, outputs: list[Tensor]) -> list[dict]:
        results = []
        for size, sample, *found in zip(batch.image_sizes, samples, *outputs[:3], strict=True):
            instances = self.select(size, *found)
            height, width = sample.get("height", size[0]), sample.get("width", size[1])
            results.append({"instances": detector_postprocess(instances, height, width)})
        return results

    def predict(self, sample: dict) -> list[Tensor]:
        """Boxes, scores and classes of a sample, see :meth:`__call__`, for :meth:`select`."""
        (outputs,) = self.run_all([self._collate([sample])])
        return [x[0] for x in outputs[:3]]

    def select(
        self,
        size: tuple[int, int],
        boxes: Tensor,
        scores: Tensor,
        classes: Tensor,
        score_thresh: float | None = None,
        nms_thresh: float | None = None,
    ) -> Instances:
        """Selects detections from outputs of the model.

        Args:
            size: (height, width) of the input.
            boxes, scores, classes: (C, 4), (C,) and (C,).
            score_thresh, nms_thresh: those of the metadata by default. What the model itself has
                left out stays out.
        """
        metadata = self.metadata
        kept = scores > (metadata.score_thresh if score_thresh is None else score_thresh)
        boxes, scores, classes = boxes[kept], scores[kept], classes[kept]
        if nms_thresh is not None or not metadata.has_nms:
            nms_thresh = metadata.nms_thresh if nms_thresh is None else nms_thresh
            best = batched_nms(boxes, scores, classes, nms_thresh)[: metadata.max_detections]
            boxes, scores, classes = boxes[best], scores[best], classes[best]
        return Instances(size, pred_boxes=Boxes(boxes), scores=scores, pred_classes=classes)
