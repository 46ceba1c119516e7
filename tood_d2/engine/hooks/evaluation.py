"""Evaluation in the course of training, and what is done with its results."""

import itertools
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from detectron2.data.detection_utils import convert_image_to_rgb
from detectron2.engine import TrainerBase, hooks
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.events import EventStorage

from ...checkpoint import read_checkpoint
from ...checkpoint.training_checkpointer import TrainingCheckpointer, WeightsCheckpointer
from ...inference.drawing import draw_predictions
from ..step import training_losses

logger = logging.getLogger(__name__)


class StopTraining(BaseException):
    """Ends training early, as intended: the trainer logs exceptions of other kinds as failures."""


class EvaluationListener:
    """Something that happens at each evaluation."""

    def before_train(self, trainer: TrainerBase) -> None:
        """Called once, before the first step."""

    def evaluated(self, trainer: TrainerBase, results: dict[str, float]) -> None:
        """Called after each evaluation.

        Args:
            trainer: at the iteration of the evaluation.
            results: by names such as "bbox/AP"; in the main process, none in others.
        """


class EvaluationHook(hooks.EvalHook):
    """Detectron2's ``EvalHook`` with listeners, which hear of the results one after the other."""

    def __init__(
        self,
        period: int,
        evaluate: Callable[[], dict],
        listeners: Sequence[EvaluationListener] = (),
    ):
        """
        Args:
            period: in iterations, 0 for once at the end.
            evaluate: gives nested results.
            listeners: in the order in which they are called.
        """
        super().__init__(period, self._evaluate_and_remember)
        self.evaluate = evaluate
        self.listeners = listeners

    def _evaluate_and_remember(self) -> dict:
        self.results = self.evaluate()
        return self.results

    def before_train(self):
        for listener in self.listeners:
            listener.before_train(self.trainer)

    def _do_eval(self):
        super()._do_eval()
        results = flatten_results_dict(self.results or {})
        for listener in self.listeners:
            listener.evaluated(self.trainer, results)


@dataclass(eq=False)
class ValidationLoss(EvaluationListener):
    """Logs the mean losses on the test data as ``validation/...``."""

    model: nn.Module
    """In training mode, not wrapped for several processes."""
    build_loader: Callable[[], Iterable]
    """Gives batches with ground truth, as many on each process."""

    def evaluated(self, trainer, results):
        losses = mean_losses(self.model, self.build_loader(), trainer.iter)
        if losses:
            losses["total_loss"] = sum(losses.values())
            scalars = {f"validation/{name}": value for name, value in losses.items()}
            trainer.storage.put_scalars(**scalars, smoothing_hint=False)
            values = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
            logger.info(f"Validation losses: {values}")


@torch.no_grad()
def mean_losses(model: nn.Module, loader: Iterable, iteration: int) -> dict[str, float]:
    """The losses of a model, averaged over the batches of all processes.

    Statistics of batch norm are used as in evaluation, and not updated.

    Args:
        model: in training mode.
        loader: batches with ground truth, as many on each process.
        iteration: decides on TOOD's phase.

    Returns:
        By name; empty without batches.
    """
    norms = [x for x in model.modules() if isinstance(x, nn.modules.batchnorm._NormBase)]
    modes = [x.training for x in norms]
    for norm in norms:
        norm.eval()
    sums: dict[str, torch.Tensor] = {}
    num_batches = 0
    with EventStorage(iteration):  # Detectron2's own detectors log into it
        for batch in loader:
            for name, loss in training_losses(model, batch, iteration).items():
                sums[name] = sums.get(name, 0) + loss
            num_batches += 1
    for norm, mode in zip(norms, modes, strict=True):
        norm.train(mode)
    means = {name: (total / num_batches).item() for name, total in sums.items()}
    per_process = comm.all_gather(means)
    return {name: sum(x[name] for x in per_process) / len(per_process) for name in means}


@dataclass(eq=False)
class PredictionPictures(EvaluationListener):
    """Puts detections beside the ground truth into TensorBoard."""

    SCORE_THRESH = 0.3

    model: nn.Module
    """Whose detections are drawn."""
    build_loader: Callable[[], Iterable]
    """Gives batches with ground truth; the first images are drawn."""
    num_pictures: int
    class_names: list[str]

    def before_train(self, trainer):
        if comm.is_main_process():
            samples = itertools.chain.from_iterable(self.build_loader())
            self.samples = list(itertools.islice(samples, self.num_pictures))

    def evaluated(self, trainer, results):
        if not comm.is_main_process():
            return
        training = self.model.training
        self.model.eval()
        for sample in self.samples:
            with torch.no_grad():
                # Without a size to scale them to, detections stay in pixels of the input.
                (output,) = self.model([{"image": sample["image"]}])
            is_grey = len(sample["image"]) == 1
            image_format = "L" if is_grey else getattr(self.model, "input_format", "RGB")
            picture = draw_predictions(
                convert_image_to_rgb(sample["image"].permute(1, 2, 0), image_format),
                output["instances"],
                sample["instances"],
                self.class_names,
                score_thresh=self.SCORE_THRESH,
            )
            trainer.storage.put_image(f"image {sample['image_id']}", picture.transpose(2, 0, 1))
        self.model.train(training)


@dataclass(eq=False)
class BestWeights(EvaluationListener):
    """Saves the weights with the best metric so far as ``model_best.pth``.

    The file knows its metric, so a resumed run goes on comparing with it.
    """

    FILE = "model_best"

    checkpointer: WeightsCheckpointer
    """Of the weights that are evaluated."""
    metric: str
    """Name of the result, larger is better."""
    best: float | None = field(default=None, init=False)
    best_iter: int = field(default=-1, init=False)

    def before_train(self, trainer):
        path = os.path.join(self.checkpointer.save_dir, f"{self.FILE}.pth")
        if trainer.start_iter > 0 and os.path.isfile(path):
            saved = read_checkpoint(path)
            if saved.get("metric") == self.metric:
                self.best, self.best_iter = saved["best"], saved["iteration"]

    def evaluated(self, trainer, results):
        value = results.get(self.metric)
        if value is None:
            if comm.is_main_process():  # the only one to have it
                logger.warning(f"The evaluation gave no {self.metric}: no weights are the best.")
        elif value == value and (self.best is None or value > self.best):  # never nan
            self.best, self.best_iter = value, trainer.iter
            extra = {"iteration": trainer.iter, "metric": self.metric, "best": value}
            self.checkpointer.save(self.FILE, **extra)
            logger.info(f"Best {self.metric} so far: {value:.4f}, saved as {self.FILE}.pth")


@dataclass(eq=False)
class EarlyStopping(EvaluationListener):
    """Ends training when evaluations bring no better metric."""

    best: BestWeights
    """Knows the best metric; it listens before this one."""
    patience: int
    """Evaluations without a better metric."""
    period: int
    """Of evaluations, in iterations."""
    finals: dict[str, TrainingCheckpointer]
    """What a complete run leaves, by name; it is saved here, too."""

    def evaluated(self, trainer, results):
        waited = (trainer.iter - self.best.best_iter) // self.period
        stop = self.best.best is not None and waited >= self.patience
        # Only the main process knows the metric.
        if comm.all_gather(stop)[0] and trainer.iter + 1 < trainer.max_iter:
            logger.info(
                f"{self.patience} evaluations without a better {self.best.metric} than that of "
                f"iteration {self.best.best_iter}: training ends at {trainer.iter}."
            )
            for name, checkpointer in self.finals.items():
                checkpointer.save(name, iteration=trainer.iter)
            raise StopTraining
