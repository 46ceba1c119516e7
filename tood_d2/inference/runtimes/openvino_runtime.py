"""OpenVINO's files, by OpenVINO (``pip install tood_d2[openvino]``)."""

import os
from collections import deque
from collections.abc import Iterable, Iterator

import openvino
import torch
from openvino import CompiledModel, InferRequest
from torch import Tensor

from detectron2.structures import ImageList

from .exported import ExportedDetector
from .metadata import Metadata

SECTION = "tood_d2"  # of the model's runtime information, which has the metadata

PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
"""OpenVINO's names of types. By itself it would choose bfloat16 where the CPU has it."""

CACHE = "TOOD_D2_OPENVINO_CACHE"
"""Variable of the environment that names a folder for compiled models. They are as large as their
files, and OpenVINO never deletes one, so there is none by default."""


class OpenVINODetector(ExportedDetector):
    """Runs an ``.xml`` file of :func:`.save_openvino`, with its ``.bin`` file beside it."""

    def __init__(self, compiled: CompiledModel, metadata: Metadata, num_requests: int = 1):
        """
        Args:
            compiled: the model.
            metadata: of its file.
            num_requests: see :meth:`load`.
        """
        self.metadata, self.num_requests = metadata, num_requests
        self.num_channels = compiled.input("images").partial_shape[1].get_length()
        self._requests = [compiled.create_infer_request() for _ in range(num_requests)]

    @classmethod
    def load(
        cls, path: str, num_requests: int = 1, dtype: torch.dtype = torch.float32
    ) -> "OpenVINODetector":
        """Compiles a file of :func:`.save_openvino`, or takes it compiled from :data:`CACHE`.

        Args:
            path: of the ``.xml`` file.
            num_requests: 1 gives each input to all cores; more share them between so many inputs,
                so that each takes longer and all together are done sooner.
            dtype: of the computations, a key of :data:`PRECISIONS`.

        Raises:
            ValueError: if it is no such file.
        """
        how = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[dtype],
            "PERFORMANCE_HINT": "LATENCY" if num_requests == 1 else "THROUGHPUT",
            "PERFORMANCE_HINT_NUM_REQUESTS": str(num_requests),
        }
        if cache := os.environ.get(CACHE):
            how["CACHE_DIR"] = cache
        core = openvino.Core()
        try:
            model = core.read_model(path)
            metadata = Metadata.from_properties(read_properties(model))
            return cls(core.compile_model(model, "CPU", how), metadata, num_requests)
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise ValueError(f"{path}: {reason}") from error

    def run(self, images: Tensor, image_sizes: Tensor) -> list[Tensor]:
        self._start(self._requests[0], images, image_sizes)
        return _outputs(self._requests[0])

    def run_all(self, inputs: Iterable[ImageList]) -> Iterator[list[Tensor]]:
        free, begun = deque(self._requests), deque()
        for batch in inputs:
            if not free:
                free.append(begun.popleft())
                yield _outputs(free[-1])
            begun.append(free.popleft())
            self._start(begun[-1], batch.tensor, torch.tensor(batch.image_sizes))
        yield from map(_outputs, begun)

    @staticmethod
    def _start(request: InferRequest, images: Tensor, image_sizes: Tensor) -> None:
        request.start_async({"images": images.float().numpy(), "image_sizes": image_sizes.numpy()})


def _outputs(request: InferRequest) -> list[Tensor]:
    request.wait()
    # Copies, as the request will write into the same memory for its next input.
    return [torch.from_numpy(x.data.copy()) for x in request.output_tensors]


def read_properties(model: openvino.Model) -> dict[str, str]:
    """The text by name that :func:`write_properties` left in a model; none if it is another's."""
    known = model.get_rt_info(SECTION).value if model.has_rt_info(SECTION) else None
    return known if isinstance(known, dict) else {}


def write_properties(model: openvino.Model, properties: dict[str, str]) -> None:
    """Leaves text by name in a model."""
    for name, value in properties.items():
        model.set_rt_info(value, [SECTION, name])
