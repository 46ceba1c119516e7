"""One step of training."""

import contextlib
import time
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from detectron2.engine import SimpleTrainer

from ..data.loading.loader import TrainLoader
from .nonfinite import NonFiniteGuard


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
        max_nonfinite_steps: int = 0,
        output_dir: str = "",
    ):
        """
        Args:
            model, data_loader, optimizer: see ``SimpleTrainer``.
            gradient_accumulation: number of batches whose mean gradient makes a step.
            amp_dtype: of mixed precision, None for float32. With float16 the losses are scaled.
            max_nonfinite_steps, output_dir: see :class:`NonFiniteGuard`.
        """
        super().__init__(model, data_loader, optimizer)
        self.gradient_accumulation = gradient_accumulation
        self.amp_dtype = amp_dtype
        self.device_type = next(model.parameters()).device.type
        self.grad_scaler = torch.amp.GradScaler(
            self.device_type, enabled=amp_dtype is torch.float16
        )
        self.guard = NonFiniteGuard(model, max_nonfinite_steps, output_dir)

    def run_step(self) -> None:
        """Adds up the gradients of the batches, then updates the model.

        Raises:
            FloatingPointError: on losses or gradients that are not finite, before the update.
        """
        assert self.model.training, "the model was left in evaluation mode"
        self.optimizer.zero_grad()
        self.guard.before_step()
        batches: list = []
        mean_losses: dict[str, torch.Tensor] = {}
        data_time = 0.0
        for i in range(self.gradient_accumulation):
            start = time.perf_counter()
            batches.append(next(self._data_loader_iter))
            data_time += time.perf_counter() - start
            last = i == self.gradient_accumulation - 1
            with contextlib.nullcontext() if last else self._no_sync():
                with torch.autocast(
                    self.device_type, self.amp_dtype, enabled=self.amp_dtype is not None
                ):
                    losses = self.model(batches[-1])
                losses = {k: v / self.gradient_accumulation for k, v in losses.items()}
                self.grad_scaler.scale(sum(losses.values())).backward()
            for name, loss in losses.items():
                mean_losses[name] = mean_losses.get(name, 0) + loss.detach()
        self.after_backward()
        # The scaler looks at gradients itself: too large ones are what it finds its scale by.
        check_gradients = not self.grad_scaler.is_enabled()
        if not self.guard.allows_step(self.iter, batches, mean_losses, check_gradients):
            return
        self._write_metrics(mean_losses, data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def _no_sync(self):
        """Keeps the gradients of a batch from being averaged over the processes."""
        if isinstance(self.model, DistributedDataParallel):
            return self.model.no_sync()
        return contextlib.nullcontext()

    def after_train(self) -> None:
        super().after_train()
        if isinstance(self.data_loader, TrainLoader):
            self._data_loader_iter_obj = None  # ends its workers; another one goes on from there

    def state_dict(self) -> dict:
        state = {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}
        if isinstance(self.data_loader, TrainLoader):
            state["num_batches"] = self.data_loader.num_batches
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        if state_dict.get("grad_scaler"):  # empty where it was off
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
        if isinstance(self.data_loader, TrainLoader):
            self.data_loader.num_batches = state_dict.get("num_batches", 0)
