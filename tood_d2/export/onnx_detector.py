"""Exported detectors in the place of Detectron2's models."""

import onnxruntime
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidProtobuf, NoSuchFile

from detectron2.data.transforms import ResizeShortestEdge
from detectron2.layers import batched_nms
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, ImageList, Instances

from ..inference.predictor import ImagePredictor
from .metadata import Metadata


class ONNXDetector:
    """Runs an ONNX file of :func:`.finish_onnx`, with the inputs and outputs of a DenseDetector.

    Attributes:
        metadata: of the file.
        num_channels: of the images.
    """

    def __init__(self, path: str | bytes):
        """
        Args:
            path: of the file, or its content.

        Raises:
            ValueError: if it is no such file.
        """
        providers = onnxruntime.get_available_providers()
        try:
            self.session = onnxruntime.InferenceSession(path, providers=providers)
            properties = self.session.get_modelmeta().custom_metadata_map
            self.metadata = Metadata.from_properties(properties)
            self.num_channels = self.session.get_inputs()[0].shape[1]
        except (Fail, InvalidProtobuf, NoSuchFile, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error

    def run(self, images: torch.Tensor, image_sizes: torch.Tensor) -> list[torch.Tensor]:
        """The outputs of the model; see :class:`.CandidateDetector` for its inputs."""
        inputs = {"images": images.float().numpy(), "image_sizes": image_sizes.numpy()}
        return [torch.from_numpy(x) for x in self.session.run(None, inputs)]

    def __call__(self, batched_inputs: list[dict]) -> list[dict]:
        """Detects as ``DenseDetector`` does in evaluation mode.

        Args:
            batched_inputs: N dicts with "image", (C, H, W), and, to scale boxes to, "height" and
                "width".

        Returns:
            N dicts with "instances".
        """
        images = [x["image"] for x in batched_inputs]
        batch = ImageList.from_tensors(images, self.metadata.size_divisibility)
        outputs = self.run(batch.tensor, torch.tensor(batch.image_sizes))
        results = []
        for size, sample, *found in zip(
            batch.image_sizes, batched_inputs, *outputs[:3], strict=True
        ):
            instances = self._select(size, *found)
            height, width = sample.get("height", size[0]), sample.get("width", size[1])
            results.append({"instances": detector_postprocess(instances, height, width)})
        return results

    def _select(self, size: tuple[int, int], boxes, scores, classes) -> Instances:
        kept = torch.nonzero(scores > self.metadata.score_thresh)[:, 0]
        if not self.metadata.has_nms:
            best = batched_nms(boxes[kept], scores[kept], classes[kept], self.metadata.nms_thresh)
            kept = kept[best[: self.metadata.max_detections]]
        return Instances(
            size, pred_boxes=Boxes(boxes[kept]), scores=scores[kept], pred_classes=classes[kept]
        )


class ONNXPredictor(ImagePredictor):
    """Detects in images by an :class:`ONNXDetector`."""

    def __init__(self, path: str):
        """Raises a ValueError if there is no such file at the path."""
        model = ONNXDetector(path)
        metadata = model.metadata
        resize = ResizeShortestEdge(metadata.short_edge_length, metadata.max_size)
        names, ids = metadata.class_names, metadata.category_ids
        super().__init__(model, [resize], metadata.input_format, names, ids)
