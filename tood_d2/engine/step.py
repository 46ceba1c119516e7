"""One step of training."""

import contextlib
import time
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage

from ..config.options import keys_of
from ..data.loading.loader import TrainLoader
from ..modeling import TOOD
from .hooks.preemption import Interruption
from .memory import explained_lack_of_memory
from .nonfinite import NonFiniteGuard

GRADIENT = "largest gradient"


class AccumulatingTrainer(SimpleTrainer):
    """``SimpleTrainer`` with gradient accumulation and mixed precision, on any device.

    Detectron2's ``AMPTrainer`` knows neither accumulation nor CPUs. Processes talk once a step,
    besides exchanging gradients.
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
        interruption: Interruption | None = None,
    ):
        """
        Args:
            model, data_loader, optimizer: see ``SimpleTrainer``.
            gradient_accumulation: number of batches whose mean gradient makes a step.
            amp_dtype: of mixed precision, None for float32. With float16 the losses are scaled.
            max_nonfinite_steps, output_dir: see :class:`NonFiniteGuard`.
            interruption: tells the processes that one of them is to end.
        """
        super().__init__(model, data_loader, optimizer)
        self.gradient_accumulation = gradient_accumulation
        self.amp_dtype = amp_dtype
        self.device_type = next(model.parameters()).device.type
        self.grad_scaler = torch.amp.GradScaler(
            self.device_type, enabled=amp_dtype is torch.float16
        )
        self.guard = NonFiniteGuard(model, max_nonfinite_steps, output_dir)
        self.interruption = interruption or Interruption()

    def run_step(self) -> None:
        """Adds up the gradients of the batches, then updates the model.

        Raises:
            ValueError: on parameters without gradients that other processes would wait for.
            FloatingPointError: on losses or gradients that are not finite, before the update.
            MemoryError: see :func:`.explained_lack_of_memory`.
        """
        assert self.model.training, "the model was left in evaluation mode"
        self.optimizer.zero_grad()
        self.guard.before_step()
        batches: list = []
        mean_losses: dict[str, Tensor] = {}
        data_time = 0.0
        for i in range(self.gradient_accumulation):
            start = time.perf_counter()
            batches.append(next(self._data_loader_iter))
            data_time += time.perf_counter() - start
            last = i == self.gradient_accumulation - 1
            # Processes average their gradients once, in the backward pass of the last batch.
            share = last or not isinstance(self.model, DistributedDataParallel)
            with contextlib.ExitStack() as contexts:
                if not share:
                    contexts.enter_context(self.model.no_sync())
                contexts.enter_context(explained_lack_of_memory(batches[-1], self.iter))
                with torch.autocast(
                    self.device_type, self.amp_dtype, enabled=self.amp_dtype is not None
                ):
                    losses = training_losses(self.model, batches[-1], self.iter)
                losses = {k: v / self.gradient_accumulation for k, v in losses.items()}
                self.grad_scaler.scale(sum(losses.values())).backward()
            for name, loss in losses.items():
                mean_losses[name] = mean_losses.get(name, 0) + loss.detach()
        self._check_that_all_are_used()
        self.after_backward()
        values = dict(mean_losses)
        # The scaler looks at gradients itself: too large ones are what it finds its scale by.
        if not self.grad_scaler.is_enabled():
            gradients = [x.grad for x in self.model.parameters() if x.grad is not None]
            # The largest absolute value cannot overflow.
            values[GRADIENT] = nn.utils.get_total_norm(gradients, float("inf"))
        rows = self._share(values, data_time)
        if self.guard.allows_step(self.iter, batches, values.keys(), rows):
            self._write_means(mean_losses.keys(), rows)
            self.grad_scaler.step(self.optimizer)
            self.grad_scaler.update()

    def _check_that_all_are_used(self) -> None:
        model = self.model
        if not isinstance(model, DistributedDataParallel) or model.find_unused_parameters:
            return
        unused = [
            k for k, x in model.module.named_parameters() if x.requires_grad and x.grad is None
        ]
        if unused:
            more = " and others" if len(unused) > 8 else ""
            raise ValueError(
                f"no loss depends on {', '.join(unused[:8])}{more}: leave out these layers, freeze "
                f"them, or set {keys_of('find_unused_parameters')} to True"
            )

    def _share(self, values: dict[str, Tensor], data_time: float) -> list[list[float]]:
        """Each process's values, then its data time and the signal that it received."""
        rest = torch.tensor([data_time, self.interruption.received])
        row = torch.stack([x.float().reshape(()) for x in values.values()])
        row = torch.cat((row, rest.to(row.device, non_blocking=True)))
        rows = row.new_zeros(comm.get_world_size(), len(row))
        rows[comm.get_rank()] = row
        if len(rows) > 1:
            dist.all_reduce(rows)
        rows = rows.tolist()  # one transfer for all
        self.interruption.agreed = int(max(row[-1] for row in rows))
        return rows

    def _write_means(self, names: Iterable[str], rows: list[list[float]]) -> None:
        """Logs what ``SimpleTrainer.write_metrics`` does, without asking the other processes."""
        storage = get_event_storage()
        storage.put_scalar("rank_data_time", rows[comm.get_rank()][-2])
        storage.put_scalar("data_time", max(row[-2] for row in rows))
        means = {name: sum(row[i] for row in rows) / len(rows) for i, name in enumerate(names)}
        storage.put_scalar("total_loss", sum(means.values()))
        if len(means) > 1:
            storage.put_scalars(**means)

    def after_train(self) -> None:
        self.end_loading()
        super().after_train()

    def end_loading(self) -> None:
        """Ends the loader's workers; training can still go on from there."""
        if isinstance(self.data_loader, TrainLoader):
            self._data_loader_iter_obj = None

    def state_dict(self) -> dict:
        state = {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}
        if isinstance(self.data_loader, TrainLoader):
            state["num_batches"] = self.data_loader.num_batches
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """See ``SimpleTrainer``.

        Raises:
            ValueError: if the state is of another optimizer.
        """
        saved = state_dict["optimizer"]["param_groups"]
        if missing := self.optimizer.param_groups[0].keys() - saved[0].keys() - {"params"}:
            raise ValueError(
                "the checkpoint is of a run with another optimizer, whose settings have no "
                f"{', '.join(sorted(missing))}: it can only be resumed with the same one"
            )
        super().load_state_dict(state_dict)
        if state_dict.get("grad_scaler"):  # empty where it was off
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
        if isinstance(self.data_loader, TrainLoader):
            self.data_loader.num_batches = state_dict.get("num_batches", 0)


def training_losses(model: nn.Module, batch: list, iteration: int) -> dict[str, Tensor]:
    """The losses of a batch; the phase of TOOD is that of the iteration."""
    if isinstance(getattr(model, "module", model), TOOD):
        return model(batch, iteration=iteration)
    return model(batch)
