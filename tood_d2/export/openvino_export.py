"""Export of detectors to OpenVINO, by way of ONNX."""

import openvino
from onnx import ModelProto
from openvino import opset15 as ops
from openvino.frontend import NodeContext
from openvino.frontend.onnx import ConversionExtension

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
    core = openvino.Core()
    core.add_extension(ConversionExtension("DeformConv", _deform_conv))
    model = core.read_model(finish_onnx(candidates, metadata).SerializeToString())
    write_properties(model, metadata.to_properties())
    openvino.save_model(model, path, compress_to_fp16=half)


def _deform_conv(node: NodeContext) -> list[openvino.Output]:
    """ONNX's deformable convolution by OpenVINO's, which has it but does not read it."""
    inputs = [node.get_input(i) for i in range(node.get_input_size())]
    data, weight, offset, bias, *mask = inputs
    pads = node.get_attribute("pads")
    result = ops.deformable_convolution(
        data,
        offset,
        weight,
        node.get_attribute("strides"),
        pads[:2],
        pads[2:],
        node.get_attribute("dilations"),
        mask=mask[0] if mask else None,
        group=node.get_attribute("group"),
        deformable_group=node.get_attribute("offset_group"),
        bilinear_interpolation_pad=True,  # beyond the map there are zeros, as in torchvision
    )
    shape = ops.constant([1, -1, 1, 1], dtype=int)
    return ops.add(result, ops.reshape(bias, shape, False)).outputs()
