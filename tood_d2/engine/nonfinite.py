"""Losses and gradients that are not finite."""

import logging
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from detectron2.structures import Instances
from detectron2.utils import comm

from ..checkpoint.atomic import atomic_write
from ..config.options import keys_of
from ..modeling import TOOD

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class NonFiniteGuard:
    """Keeps steps from spoiling a model, and saves the batch that would have."""

    model: nn.Module
    """Whose gradients and buffers are looked after."""
    max_steps: int
    """That may be left out before training ends."""
    output_dir: str
    """Folder for batches, "" for not saving them."""
    num_steps: int = field(default=0, init=False)
    """That were left out."""
    _buffers: list[Tensor] = field(default_factory=list, init=False)

    def before_step(self) -> None:
        """Remembers statistics of batch norm, which the forward pass already changes."""
        if self.num_steps < self.max_steps:
            self._buffers = [x.clone() for x in self.model.buffers()]

    def allows_step(
        self, iteration: int, batches: list, names: Iterable[str], rows: list[list[float]]
    ) -> bool:
        """Decides for all processes, after the backward pass.

        Args:
            iteration: of this step.
            batches: lists of Detectron2's samples.
            names: of values that have to be finite.
            rows: of each process, which begin with these values.

        Returns:
            Whether to update the model. If not, its buffers are as before the step.

        Raises:
            FloatingPointError: if no more steps may be left out.
        """
        values_of = [dict(zip(names, row, strict=False)) for row in rows]
        finite = [all(map(math.isfinite, values.values())) for values in values_of]
        if all(finite):
            return True
        rank = comm.get_rank()
        message = "" if finite[rank] else self._describe(iteration, batches, values_of[rank])
        messages = filter(None, comm.all_gather(message))
        self.num_steps += 1
        text = f"iteration {iteration}: not finite, so the model is left as it was. "
        text += " ".join(messages)
        if self.num_steps > self.max_steps:
            raise FloatingPointError(
                f"{text} {keys_of('max_nonfinite_steps')} would let training go on; it is "
                f"{self.max_steps}"
            )
        logger.warning(f"{text} Steps left out: {self.num_steps} of {self.max_steps} allowed.")
        for buffer, old in zip(self.model.buffers(), self._buffers, strict=True):
            buffer.copy_(old)
        return False

    def _describe(self, iteration: int, batches: list, values: dict[str, float]) -> str:
        samples = [sample for batch in batches for sample in batch]
        ids = [x.get("image_id", x.get("file_name")) if isinstance(x, dict) else x for x in samples]
        text = f"Images {', '.join(map(str, ids))}"
        model = getattr(self.model, "module", self.model)
        if isinstance(model, TOOD):
            initial = model.in_initial_phase(iteration)
            text += ", initial phase" if initial else ", task alignment learning"
        text += ": " + ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        if self.output_dir:
            name = f"nonfinite_{iteration:07d}_rank{comm.get_rank()}.pth"
            path = os.path.join(self.output_dir, name)
            content = {"iteration": iteration, "values": values, "samples": _plain(samples)}
            with atomic_write(path) as file:
                torch.save(content, file)
            text += f" (saved: {path})"
        return text + "."


def _plain(value):
    """The same in types that ``torch.load`` takes from a stranger's file."""
    if isinstance(value, Instances):
        return {"image_size": tuple(value.image_size), **_plain(value.get_fields())}
    if hasattr(value, "tensor"):  # boxes
        return value.tensor
    if isinstance(value, dict):
        return {key: _plain(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(x) for x in value]
    return value if isinstance(value, Tensor | int | float | str | None) else repr(value)
