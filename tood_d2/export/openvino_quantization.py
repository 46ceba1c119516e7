"""int8 versions of OpenVINO's models, by NNCF (``pip install tood_d2[openvino]``)."""

import logging
from collections.abc import Iterable, Sequence
from tempfile import TemporaryDirectory

import nncf
import numpy as np
import openvino
from openvino import CompiledModel

from detectron2.evaluation import COCOEvaluator
from detectron2.structures import ImageList

from ..inference.runtimes.metadata import Metadata
from ..inference.runtimes.openvino_runtime import (
    OpenVINODetector,
    read_properties,
    write_properties,
)

logging.getLogger("nncf").setLevel(logging.WARNING)


def quantize_openvino(
    path: str,
    output: str,
    samples: Sequence[dict],
    test_samples: Sequence[dict] = (),
    test_name: str = "",
    max_drop: float = 0.3,
) -> None:
    """Writes a version that computes with 8 bits.

    With test samples, the layers whose 8 bits cost most are left as they are, one after the other,
    until the AP falls by no more than it may.

    Args:
        path: of a file of :func:`.save_openvino`, with weights in 32 bits.
        output: file to write.
        samples: of the data that the model will see, to find the range of its activations.
        test_samples: annotated ones of the test data set.
        test_name: of the registered test data set.
        max_drop: largest loss of AP, in points (of 100).
    """
    model = openvino.Core().read_model(path)
    metadata = Metadata.from_properties(read_properties(model))

    def prepare(sample: dict) -> dict[str, np.ndarray]:
        batch = ImageList.from_tensors([sample["image"].float()], metadata.size_divisibility)
        sizes = np.array(batch.image_sizes, np.int64)
        return {"images": batch.tensor.numpy(), "image_sizes": sizes}

    calibration, how = nncf.Dataset(samples, prepare), {"subset_size": len(samples)}
    if not test_samples:
        small = nncf.quantize(model, calibration, **how)
    else:
        with TemporaryDirectory() as folder:
            evaluator = COCOEvaluator(test_name, ("bbox",), distributed=False, output_dir=folder)

            def measure(compiled: CompiledModel, samples: Iterable[dict]) -> tuple[float, None]:
                detector, image_ids = OpenVINODetector(compiled, metadata), []
                evaluator.reset()
                for sample in samples:
                    evaluator.process([sample], detector([sample]))
                    image_ids.append(sample["image_id"])
                ap = evaluator.evaluate(image_ids)["bbox"]["AP"]
                return float(np.nan_to_num(ap)), None

            validation = nncf.Dataset(test_samples, prepare)
            small = nncf.quantize_with_accuracy_control(
                model, calibration, validation, measure, max_drop=max_drop, **how
            )
    write_properties(small, metadata.to_properties())
    openvino.save_model(small, output, compress_to_fp16=False)
