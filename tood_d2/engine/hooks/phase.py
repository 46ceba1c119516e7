"""The hooks of training, for both kinds of config."""

import logging
import os
import shutil
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from detectron2.engine import HookBase, hooks
from detectron2.utils import comm
from detectron2.utils.events import EventWriter

from ...checkpoint.atomic import atomic_write, remove_unfinished
from ...checkpoint.recovery import periodic_checkpoints
from ...checkpoint.training_checkpointer import TrainingCheckpointer, WeightsCheckpointer
from ...config.options import TrainingOptions
from ...modeling.meta_arch import ALWAYS, TOOD
from ..ema import EMAHook
from .evaluation import BestCheckpoint, EarlyStopping, PredictionPictures, ValidationLoss
from .preemption import PreemptionHook
from .seeding import SeedSteps

logger = logging.getLogger(__name__)

BOX_AP = "bbox/AP"


def build_hooks(
    options: TrainingOptions,
    model: nn.Module,
    *,
    ema: AveragedModel | None,
    scheduler,
    checkpointer: TrainingCheckpointer,
    evaluate: Callable[[nn.Module, str], dict],
    build_validation_loader: Callable[[], Iterable],
    build_writers: Callable[[], list[EventWriter]],
    precise_bn: hooks.PreciseBN | None = None,
) -> list[HookBase]:
    """The hooks of a run, the same in each process but for those that write.

    Args:
        options: of the run.
        model: not wrapped for several processes.
        ema: average of its weights, if there is to be one.
        scheduler: see Detectron2's ``LRScheduler`` hook.
        checkpointer: of the state of training.
        evaluate: gives the results of a model; it writes to the named sub-folder.
        build_validation_loader: gives the test data with ground truth.
        build_writers: called in the main process only.
        precise_bn: computes statistics of batch norm before evaluations, if it is to be done.
    """

    def evaluate_all() -> dict:
        results = evaluate(model, "inference")
        if ema is None:
            return results
        logger.info("Evaluation of the averaged weights:")
        return {**results, "ema": evaluate(ema.module, "inference_ema")}

    period = options.eval_period
    evaluated = model if ema is None else ema.module
    weights = WeightsCheckpointer(evaluated, options.output_dir, checkpointer.class_names)
    finals = {"model_final": checkpointer}
    result: list[HookBase] = [hooks.IterationTimer(), hooks.LRScheduler(scheduler=scheduler)]
    if options.seed >= 0:
        result.append(SeedSteps(options.seed))
    if isinstance(model, TOOD):
        # The metrics first: other hooks give the model other batches.
        result += [AssignmentMetrics(model), PhaseHook(model.initial_phase_iters)]
    if precise_bn is not None:
        result.append(precise_bn)
    if ema is not None:
        result.append(EMAHook(ema, model, weights))
        finals[EMAHook.FILE] = weights
    if comm.is_main_process():
        result.append(
            CheckpointHook(checkpointer, options.checkpoint_period, max_to_keep=options.max_to_keep)
        )
    # Here the state of training is complete, and evaluations, which take long, lie ahead.
    result.append(PreemptionHook(checkpointer))
    result.append(hooks.EvalHook(period, evaluate_all))
    if options.validation_loss:
        result.append(ValidationLoss(period, model, build_validation_loader))
    if options.num_pictures:
        names = checkpointer.class_names
        result.append(
            PredictionPictures(
                period, evaluated, build_validation_loader, options.num_pictures, names
            )
        )
    if options.best_checkpoint:
        best = BestCheckpoint(period, weights, BOX_AP if ema is None else f"ema/{BOX_AP}")
        result.append(best)
        if options.early_stopping:
            result.append(EarlyStopping(period, best, options.early_stopping, finals))
    if comm.is_main_process():
        # Last, to write what other hooks record.
        result.append(hooks.PeriodicWriter(build_writers(), period=options.log_period))
    return result


class CheckpointHook(hooks.PeriodicCheckpointer):
    """Detectron2's hook, which in a resumed run knows the checkpoints from before, too."""

    def before_train(self):
        super().before_train()
        folder = self.checkpointer.save_dir
        remove_unfinished(folder)
        self.recent_checkpoints = periodic_checkpoints(folder, before=self.trainer.start_iter)
        last = os.path.join(folder, f"{self.file_prefix}_{self.trainer.max_iter - 1:07d}.pth")
        complete = self.trainer.start_iter == self.trainer.max_iter
        if complete and self.checkpointer.get_checkpoint_file() == last:
            # The run was killed between its last two checkpoints, which are the same.
            final = f"{self.file_prefix}_final.pth"
            with open(last, "rb") as source, atomic_write(os.path.join(folder, final)) as file:
                shutil.copyfileobj(source, file)
            self.checkpointer.tag_last_checkpoint(final)


class PhaseHook(HookBase):
    """Says which phase training is in, and warns of a schedule without the second one."""

    def __init__(self, initial_phase_iters: int):
        self.initial_phase_iters = initial_phase_iters

    def before_train(self):
        start, end, change = self.trainer.iter, self.trainer.max_iter, self.initial_phase_iters
        if change >= end > 0:
            logger.warning(
                f"The schedule of {end} iterations ends inside the initial phase of {change}: "
                "there will be no task alignment learning. Train longer, or lower "
                "MODEL.TOOD.INITIAL_PHASE.ITERS (YAML) or model.initial_phase_iters."
            )
        self._log(start)

    def before_step(self):
        if self.trainer.iter == self.initial_phase_iters > self.trainer.start_iter:
            self._log(self.trainer.iter)

    def _log(self, iteration: int):
        if self.initial_phase_iters == ALWAYS:
            phase = "ATSS assignment throughout"
        elif iteration < self.initial_phase_iters:
            phase = f"initial phase (ATSS assignment) until iteration {self.initial_phase_iters}"
        else:
            phase = "task alignment learning"
        logger.info(f"Iteration {iteration}: {phase}.")


class AssignmentMetrics(HookBase):
    """Logs a model's metrics of the assignment; with gradient accumulation, of the last batch."""

    def __init__(self, model: TOOD):
        """
        Args:
            model: not wrapped for several processes.
        """
        self.model = model

    def after_step(self):
        metrics = self.model.assignment_metrics
        values = torch.stack(list(metrics.values())).tolist()  # one transfer for all
        scalars = {f"[metric] {k}": v for k, v in zip(metrics, values, strict=True)}
        self.trainer.storage.put_scalars(**scalars)
