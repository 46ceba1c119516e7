"""One step of training."""

import contextlib
import time
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from detectron2.engine import SimpleTrainer


class AccumulatingTrainer(SimpleTrainer):
    """``SimpleTrainer`` with gradient accumulation and mixed precision, on any device.

    Detectron2's ``AMPTrainer`` knows neither accumulation nor CPUs.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable,
        optimizer: Optimizer,
        *,
        gradient_accumulation: int = 1,
        amp_dtype: torch.dtype | None = None,
    ):
        """
        Args:
            model, data_loader, optimizer: see ``SimpleTrainer``.
            gradient_accumulation: number of batches whose mean gradient makes a step.
            amp_dtype: of mixed precision, None for float32. With float16 the losses are scaled.
        """
        super().__init__(model, data_loader, optimizer)
        self.gradient_accumulation = gradient_accumulation
        self.amp_dtype = amp_dtype
        self.device_type = next(model.parameters()).device.type
        self.grad_scaler = torch.amp.GradScaler(
            self.device_type, enabled=amp_dtype is torch.float16
        )

    def run_step(self) -> None:
        """Adds up the gradients of the batches, then updates the model.

        Raises:
            FloatingPointError: on losses that are not finite, before the update.
        """
        assert self.model.training, "the model was left in evaluation mode"
        self.optimizer.zero_grad()
        mean_losses: dict[str, torch.Tensor] = {}
        data_time = 0.0
        for i in range(self.gradient_accumulation):
            start = time.perf_counter()
            data = next(self._data_loader_iter)
            data_time += time.perf_counter() - start
            last = i == self.gradient_accumulation - 1
            with contextlib.nullcontext() if last else self._no_sync():
                with torch.autocast(
                    self.device_type, self.amp_dtype, enabled=self.amp_dtype is not None
                ):
                    losses = self.model(data)
                losses = {k: v / self.gradient_accumulation for k, v in losses.items()}
                self.grad_scaler.scale(sum(losses.values())).backward()
            for name, loss in losses.items():
                mean_losses[name] = mean_losses.get(name, 0) + loss.detach()
        self.after_backward()
        self._write_metrics(mean_losses, data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def _no_sync(self):
        """Keeps the gradients of a batch from being averaged over the processes."""
        if isinstance(self.model, DistributedDataParallel):
            return self.model.no_sync()
        return contextlib.nullcontext()

    def state_dict(self) -> dict:
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        if state_dict.get("grad_scaler"):  # empty where it was off
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
