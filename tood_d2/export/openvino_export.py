"""Export of detectors to OpenVINO, by way of ONNX."""

import openvino
from onnx import ModelProto

from ..inference.runtimes.metadata import Metadata
from ..inference.runtimes.openvino_runtime import write_properties
from .onnx_export import finish_onnx


def save_openvino(
    candidates: ModelProto, metadata: Metadata, path: str, half: bool = False
) -> None:
    """Writes what :func:`.finish_onnx` makes of the same arguments, as ``.xml`` and ``.bin``.

    Args:
        candidates, metadata: see :func:`.finish_onnx`.
        path: of the ``.xml`` file.
        half: whether weights are kept in 16 bits; computations stay in 32.
    """
    model = openvino.Core().read_model(finish_onnx(candidates, metadata).SerializeToString())
    write_properties(model, metadata.to_properties())
    openvino.save_model(model, path, compress_to_fp16=half)
