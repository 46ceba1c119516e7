"""Hooks that run with, and after, each evaluation."""

import itertools
import logging
import os
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import nn

from detectron2.data import Metadata
from detectron2.data.detection_utils import convert_image_to_rgb
from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.events import EventStorage

from ...checkpoint import read_checkpoint
from ...checkpoint.training_checkpointer import TrainingCheckpointer, WeightsCheckpointer
from ...inference.drawing import draw_predictions

logger = logging.getLogger(__name__)


class StopTraining(BaseException):
    """Ends training early, as intended: the trainer logs exceptions of other kinds as failures."""


class AtEvaluation(HookBase):
    """Calls :meth:`at_evaluation` when Detectron2's ``EvalHook`` of the same period evaluates."""

    def __init__(self, period: int):
        """
        Args:
            period: in iterations, 0 for once at the end.
        """
        self.period = period

    def at_evaluation(self) -> None:
        raise NotImplementedError

    def after_step(self):
        iteration = self.trainer.iter + 1
        if self.period > 0 and iteration % self.period == 0 and iteration < self.trainer.max_iter:
            self.at_evaluation()

    def after_train(self):
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self.at_evaluation()


class ValidationLoss(AtEvaluation):
    """Logs the mean losses on the test data as ``validation/...``."""

    def __init__(self, period: int, model: nn.Module, build_loader: Callable[[], Iterable]):
        """
        Args:
            period: see :class:`AtEvaluation`.
            model: in training mode, not wrapped for several processes.
            build_loader: gives batches with ground truth, as many on each process.
        """
        super().__init__(period)
        self.model = model
        self.build_loader = build_loader

    def at_evaluation(self):
        losses = mean_losses(self.model, self.build_loader(), self.trainer.iter)
        if losses:
            losses["total_loss"] = sum(losses.values())
            scalars = {f"validation/{name}": value for name, value in losses.items()}
            self.trainer.storage.put_scalars(**scalars, smoothing_hint=False)
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
    with EventStorage(iteration):  # keeps the model's own metrics out of training's
        for batch in loader:
            for name, loss in model(batch).items():
                sums[name] = sums.get(name, 0) + loss
            num_batches += 1
    for norm, mode in zip(norms, modes, strict=True):
        norm.train(mode)
    means = {name: (total / num_batches).item() for name, total in sums.items()}
    per_process = comm.all_gather(means)
    return {name: sum(x[name] for x in per_process) / len(per_process) for name in means}


class PredictionPictures(AtEvaluation):
    """Puts detections beside the ground truth into TensorBoard."""

    SCORE_THRESH = 0.3

    def __init__(
        self,
        period: int,
        model: nn.Module,
        build_loader: Callable[[], Iterable],
        num_pictures: int,
        class_names: list[str],
    ):
        """
        Args:
            period: see :class:`AtEvaluation`.
            model: whose detections are drawn.
            build_loader: gives batches with ground truth; the first images are drawn.
            num_pictures: number of images.
            class_names: of the K classes.
        """
        super().__init__(period)
        self.model = model
        self.build_loader = build_loader
        self.num_pictures = num_pictures
        self.metadata = Metadata(thing_classes=class_names)

    def before_train(self):
        if comm.is_main_process():
            samples = itertools.chain.from_iterable(self.build_loader())
            self.samples = list(itertools.islice(samples, self.num_pictures))

    def at_evaluation(self):
        if not comm.is_main_process():
            return
        training = self.model.training
        self.model.eval()
        for sample in self.samples:
            with torch.no_grad():
                # Without a size to scale them to, detections stay in pixels of the input.
                (output,) = self.model([{"image": sample["image"]}])
            picture = draw_predictions(
                self._to_rgb(sample["image"]),
                output["instances"],
                sample["instances"],
                self.metadata,
                score_thresh=self.SCORE_THRESH,
            )
            name = f"image {sample['image_id']}"
            self.trainer.storage.put_image(name, picture.transpose(2, 0, 1))
        self.model.train(training)

    def _to_rgb(self, image: torch.Tensor) -> np.ndarray:
        image_format = getattr(self.model, "input_format", "RGB")
        return convert_image_to_rgb(image.permute(1, 2, 0), image_format)


class BestCheckpoint(AtEvaluation):
    """Saves the weights with the best metric so far as ``model_best.pth``.

    The file knows its metric, so a resumed run goes on comparing with it.
    """

    FILE = "model_best"

    def __init__(self, period: int, checkpointer: WeightsCheckpointer, metric: str):
        """
        Args:
            period: see :class:`AtEvaluation`.
            checkpointer: of the weights that are evaluated.
            metric: name of the scalar, larger is better.
        """
        super().__init__(period)
        self.checkpointer = checkpointer
        self.metric = metric
        self.best: float | None = None
        self.best_iter = -1

    def before_train(self):
        path = os.path.join(self.checkpointer.save_dir, f"{self.FILE}.pth")
        if self.trainer.start_iter > 0 and os.path.isfile(path):
            saved = read_checkpoint(path)
            if saved.get("metric") == self.metric:
                self.best, self.best_iter = saved["best"], saved["iteration"]

    def at_evaluation(self):
        value, iteration = self.trainer.storage.latest().get(self.metric, (None, -1))
        if value is None or iteration != self.trainer.storage.iter:
            if comm.is_main_process():  # the only one to have it
                logger.warning(f"The evaluation gave no {self.metric}: no weights are the best.")
            return
        if self.best is None or value > self.best:  # never for nan
            if value != value:
                return
            self.best, self.best_iter = value, iteration
            extra = {"iteration": iteration, "metric": self.metric, "best": value}
            self.checkpointer.save(self.FILE, **extra)
            logger.info(f"Best {self.metric} so far: {value:.4f}, saved as {self.FILE}.pth")


class EarlyStopping(AtEvaluation):
    """Ends training when evaluations bring no better metric."""

    def __init__(
        self,
        period: int,
        best: BestCheckpoint,
        patience: int,
        finals: dict[str, TrainingCheckpointer],
    ):
        """
        Args:
            period: see :class:`AtEvaluation`.
            best: the hook that knows the best metric, registered before this one.
            patience: evaluations without a better metric.
            finals: what a complete run leaves, by name; it is saved here, too.
        """
        super().__init__(period)
        self.best = best
        self.patience = patience
        self.finals = finals

    def at_evaluation(self):
        waited = (self.trainer.iter - self.best.best_iter) // max(self.period, 1)
        stop = self.best.best is not None and waited >= self.patience
        # Only the main process knows the metric.
        if comm.all_gather(stop)[0] and self.trainer.iter + 1 < self.trainer.max_iter:
            logger.info(
                f"{self.patience} evaluations without a better {self.best.metric} than that of "
                f"iteration {self.best.best_iter}: training ends at {self.trainer.iter}."
            )
            for name, checkpointer in self.finals.items():
                checkpointer.save(name, iteration=self.trainer.iter)
            raise StopTraining
