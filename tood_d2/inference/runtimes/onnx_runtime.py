"""ONNX files, by ONNX Runtime (``pip install tood_d2[export]``)."""

import onnxruntime
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidProtobuf, NoSuchFile

from .exported import ExportedDetector
from .metadata import Metadata


class ONNXDetector(ExportedDetector):
    """Runs an ONNX file of :func:`.finish_onnx`."""

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
        inputs = {"images": images.float().numpy(), "image_sizes": image_sizes.numpy()}
        return [torch.from_numpy(x) for x in self.session.run(None, inputs)]
