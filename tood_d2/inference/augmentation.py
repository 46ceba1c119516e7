"""Detection on several versions of each image."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from detectron2.modeling import DatasetMapperTTA
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.structures import Boxes, Instances

from ..data.images import read_image
from ..data.loading.augmentations import LimitAspectRatio
from .merging import Merging


def build_tta_mapper(
    short_edge_length: int,
    scales: Sequence[float],
    min_sizes: Sequence[int] | None = None,
    max_size: int | None = None,
    flip: bool = True,
) -> DatasetMapperTTA:
    """Versions of an image whose sizes follow that of testing.

    Args:
        short_edge_length: of images in testing.
        scales: of the versions, relative to it.
        min_sizes: shorter edges of the versions instead, in pixels.
        max_size: of the longer edge, by default five times ``short_edge_length``.
        flip: whether each version is seen flipped, too.
    """
    sizes = min_sizes or [round(short_edge_length * x) for x in scales]
    return DatasetMapperTTA(list(sizes), max_size or 5 * short_edge_length, flip)


class DenseDetectorWithTTA(nn.Module):
    """What Detectron2's ``GeneralizedRCNNWithTTA`` does, for dense detectors.

    The detections of all versions of an image are merged.
    """

    def __init__(
        self,
        model: DenseDetector,
        mapper: DatasetMapperTTA,
        input_format: str,
        merging: Merging | None = None,
    ):
        """
        Args:
            model: in evaluation mode.
            mapper: gives the versions of an image.
            input_format: order of the model's channels, "RGB" or "BGR".
            merging: of the detections of all versions; by default one more NMS like the model's.
        """
        super().__init__()
        self.model, self.mapper, self.input_format = model, mapper, input_format
        self.merging = merging or Merging(
            iou_thresh=model.test_nms_thresh, max_detections=model.max_detections_per_image
        )

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict]) -> list[dict]:
        """
        Args:
            batched_inputs: see ``DenseDetector.forward``. With a "file_name" the image is read,
                as that in "image" may have been resized.

        Returns:
            Dicts with "instances", in pixels of "height" and "width" or else of "image".
        """
        return [{"instances": self._detect(self._original(x))} for x in batched_inputs]

    def _original(self, sample: dict) -> dict:
        image = sample.get("image")
        if "file_name" in sample:
            pixels = read_image(sample["file_name"], self.input_format)
            pixels = LimitAspectRatio().get_transform(pixels).apply_image(pixels)
            image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        height, width = image.shape[1:]
        sizes = {"height": sample.get("height", height), "width": sample.get("width", width)}
        return {"image": image.cpu(), **sizes}

    def _detect(self, sample: dict) -> Instances:
        size = sample["height"], sample["width"]
        found = []
        for version in self.mapper(sample):
            # Boxes in pixels of this version, not scaled to "height" and "width".
            (output,) = self.model([{"image": version["image"]}])
            x = output["instances"].to("cpu")
            boxes = version["transforms"].inverse().apply_box(x.pred_boxes.tensor.numpy())
            boxes = Boxes(torch.from_numpy(boxes))
            boxes.clip(size)
            fields = {"pred_boxes": boxes, "scores": x.scores, "pred_classes": x.pred_classes}
            found.append(Instances(size, **fields))
        return self.merging(found)
