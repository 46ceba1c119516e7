"""int8 versions of exported models."""

from collections.abc import Iterable

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from detectron2.structures import ImageList

from .compatibility import allow_old_runtimes


class _Inputs(CalibrationDataReader):
    """Detectron2's samples as inputs of an exported model."""

    def __init__(self, samples: Iterable[dict], size_divisibility: int):
        images = (x["image"].float() for x in samples)
        batches = (ImageList.from_tensors([x], size_divisibility) for x in images)
        self.inputs = (
            {"images": x.tensor.numpy(), "image_sizes": [list(x.image_sizes[0])]} for x in batches
        )

    def get_next(self) -> dict | None:
        return next(self.inputs, None)


def quantize(path: str, output: str, samples: Iterable[dict], size_divisibility: int) -> None:
    """Writes a version whose convolutions compute with 8 bits.

    Args:
        path: of an ONNX file.
        output: file to write.
        samples: of the data that the model will see, to find the range of its activations.
        size_divisibility: of the input.
    """
    quant_pre_process(path, output, skip_symbolic_shape=True)
    quantize_static(
        output,
        output,
        _Inputs(samples, size_divisibility),
        op_types_to_quantize=["Conv"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    model = onnx.load(output)
    allow_old_runtimes(model)
    onnx.save(model, output)
