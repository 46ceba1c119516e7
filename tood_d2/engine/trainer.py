"""Training and evaluation of configs of both kinds."""

import contextlib
import logging
import os
import sys
import weakref
from collections import OrderedDict

import torch
from fvcore.nn.precise_bn import get_bn_modules
from torch import nn

from detectron2.engine import (
    DefaultTrainer,
    HookBase,
    TrainerBase,
    create_ddp_model,
    default_writers,
    hooks,
)
from detectron2.evaluation import (
    DatasetEvaluator,
    inference_on_dataset,
    print_csv_format,
    verify_results,
)
from detectron2.solver import LRMultiplier
from detectron2.utils import comm
from detectron2.utils.events import EventWriter

from ..checkpoint.machines import writes_checkpoints
from ..checkpoint.remote import RemoteFolder
from ..checkpoint.training_checkpointer import TrainingCheckpointer, WeightsCheckpointer
from ..config.loading import as_run
from ..config.options import Options, keys_of
from ..data.loading import build_test_loader
from ..modeling import TOOD
from .ema import EMAHook, build_ema
from .hooks.assignment import AssignmentHook
from .hooks.checkpoints import CheckpointHook
from .hooks.evaluation import (
    BestWeights,
    EarlyStopping,
    EvaluationHook,
    PredictionPictures,
    StopTraining,
    ValidationLoss,
)
from .hooks.preemption import Interruption, PreemptionHook
from .hooks.remote_copy import RemoteCopyHook
from .output_folder import end_last_record
from .seeding import SeedSteps
from .step import AccumulatingTrainer

logger = logging.getLogger(__name__)

BOX_AP = "bbox/AP"


class Trainer(DefaultTrainer):
    """Detectron2's trainer for configs of both kinds, with all that :class:`Options` has.

    A subclass may override what it may in ``DefaultTrainer``: ``build_model``,
    ``build_optimizer``, ``build_lr_scheduler``, ``build_train_loader``, ``build_test_loader``,
    ``build_evaluator``, ``build_hooks``, ``build_writers`` and ``test``. Each is given the config.

    Attributes:
        cfg: the config.
        options: of the run.
        ema: average of the weights, None without.
    """

    def __init__(self, cfg):
        """
        Args:
            cfg: CfgNode with :func:`.add_tood_config`'s keys, or LazyConfig in the form of
                Detectron2's ``tools/lazyconfig_train_net.py``.
        """
        TrainerBase.__init__(self)
        self.cfg = cfg
        self._run = as_run(cfg)
        self.options = options = self._run.options
        self.start_iter, self.max_iter = 0, options.max_iter
        loader = self.build_train_loader(cfg)  # first, as data may turn out to be unfit
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        prepare_model(model, options)
        self.ema = build_ema(model, options.ema_decay) if options.ema_enabled else None
        self._interruption = Interruption()
        self._trainer = AccumulatingTrainer(
            _distribute(model, options),
            loader,
            optimizer,
            gradient_accumulation=options.gradient_accumulation,
            amp_dtype=getattr(torch, options.amp_dtype) if options.amp_enabled else None,
            max_nonfinite_steps=options.max_nonfinite_steps,
            output_dir=options.output_dir,
            interruption=self._interruption,
        )
        state = {"trainer": weakref.proxy(self)} | ({"ema": self.ema} if self.ema else {})
        self.checkpointer = TrainingCheckpointer(
            model,
            options.output_dir,
            self._run.known_class_names,
            options.seed,
            background=options.background_checkpoints,
            save_to_disk=writes_checkpoints(options.output_dir),
            **state,
        )
        self.register_hooks(self.build_hooks())

    @classmethod
    def build_model(cls, cfg) -> nn.Module:
        model = as_run(cfg).build_model()
        logger.info(f"Model:\n{model}", extra={"file_only": True})
        return model

    @classmethod
    def build_optimizer(cls, cfg, model):
        return as_run(cfg).build_optimizer(model)

    @classmethod
    def build_lr_scheduler(cls, cfg, optimizer):
        return as_run(cfg).build_lr_scheduler(optimizer)

    @classmethod
    def build_train_loader(cls, cfg):
        return as_run(cfg).build_train_loader()

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        return as_run(cfg).build_test_loader(dataset_name)

    @classmethod
    def build_evaluator(cls, cfg, dataset_name) -> DatasetEvaluator:
        return as_run(cfg).build_evaluator(dataset_name)

    def build_writers(self) -> list[EventWriter]:
        """Detectron2's writers, and those to the trackers that the options want."""
        folder = self.options.output_dir
        metrics, trackers = os.path.join(folder, "metrics.json"), []
        if self.options.wandb_project:
            from ..integrations.wandb import WandbWriter

            trackers.append(WandbWriter(self._run))
        if self.options.mlflow_experiment:
            from ..integrations.mlflow import MLflowWriter

            # A new run in the folder of another begins another file of metrics.
            trackers.append(MLflowWriter(self._run, resume=os.path.exists(metrics)))
        end_last_record(metrics)
        return [*default_writers(folder, self.max_iter), *trackers]

    def build_hooks(self) -> list[HookBase]:
        """The hooks of a run, the same in each process but for those that write."""
        options, model = self.options, self._unwrapped
        result: list[HookBase] = [hooks.IterationTimer(), hooks.LRScheduler()]
        if options.seed >= 0:
            result.append(SeedSteps(options.seed))
        if isinstance(model, TOOD):
            # Early, as other hooks give the model other batches.
            result.append(AssignmentHook(model, options.log_period))
        if options.precise_bn and get_bn_modules(model):
            # Real images, and no workers, which saves time and memory.
            unmixed = {"mosaic_prob": 0.0} if options.mosaic_prob else {}
            unmixed |= {"copy_paste_prob": 0.0} if options.copy_paste_prob else {}
            cfg = self._run.with_options(num_workers=0, **unmixed).cfg
            batches = self.build_train_loader(cfg)
            result.append(
                hooks.PreciseBN(options.eval_period, model, batches, options.precise_bn_iters)
            )
        evaluated = model if self.ema is None else self.ema.module
        names = self.checkpointer.class_names
        weights = WeightsCheckpointer(evaluated, options.output_dir, names)
        if self.ema is not None:
            result.append(EMAHook(self.ema, model, weights))
        if self.checkpointer.save_to_disk:
            result.append(
                CheckpointHook(
                    self.checkpointer, options.checkpoint_period, max_to_keep=options.max_to_keep
                )
            )
        # Here the state of training is complete, and evaluations, which take long, lie ahead.
        result.append(PreemptionHook(self.checkpointer, self._interruption, options.max_hours))
        result.append(self._evaluation_hook(weights))
        if comm.is_main_process():
            # After the others, to write what they record, and to copy it.
            result.append(hooks.PeriodicWriter(self.build_writers(), period=options.log_period))
            if options.remote_dir:
                remote = RemoteFolder(options.remote_dir, options.max_to_keep)
                result.append(RemoteCopyHook(self.checkpointer, remote, options.checkpoint_period))
        return result

    def _evaluation_hook(self, weights: WeightsCheckpointer) -> EvaluationHook:
        options, listeners = self.options, []
        if options.validation_loss:
            listeners.append(ValidationLoss(self._unwrapped, self._validation_loader))
        if options.num_pictures:
            names = self.checkpointer.class_names
            listeners.append(
                PredictionPictures(
                    weights.model, self._validation_loader, options.num_pictures, names
                )
            )
        if options.best_checkpoint:
            best = BestWeights(weights, BOX_AP if self.ema is None else f"ema/{BOX_AP}")
            listeners.append(best)
            if options.early_stopping:
                finals = {"model_final": self.checkpointer}
                finals |= {EMAHook.FILE: weights} if self.ema else {}
                listeners.append(
                    EarlyStopping(best, options.early_stopping, options.eval_period, finals)
                )
        return EvaluationHook(options.eval_period, self._evaluate, listeners)

    def _evaluate(self) -> dict:
        results = self.test(self.cfg, self._unwrapped)
        if self.ema is not None:
            logger.info("Evaluation of the averaged weights:")
            folder = os.path.join(self.options.output_dir, "ema")
            cfg = self._run.with_options(output_dir=folder).cfg
            results = {**results, "ema": self.test(cfg, self.ema.module)}
        self._last_eval_results = results
        return results

    def _validation_loader(self):
        """The test data with its ground truth, an image a batch, as many in each process.

        Up to one image less than there are processes is left out for that.
        """
        records = self._run.test_dicts()
        rank, num_processes = comm.get_rank(), comm.get_world_size()
        share = range(rank, len(records) - len(records) % num_processes, num_processes)
        mapper = self._run.annotated_test_mapper()
        return build_test_loader(records, mapper=mapper, sampler=share)

    @property
    def _unwrapped(self) -> nn.Module:
        """The model without what distributes it over processes."""
        return getattr(self._trainer.model, "module", self._trainer.model)

    def resume_or_load(self, resume: bool = True) -> None:
        """Loads the last checkpoint of the output folder if there is one, else initial weights.

        Args:
            resume: whether to look for a checkpoint.
        """
        self.checkpointer.resume_or_load(self.options.init_checkpoint, resume=resume)
        if self.start_iter == 0:
            return
        if self.start_iter >= self.max_iter:
            logger.warning(
                f"The {self.start_iter} iterations of the checkpoint reach the end of training, "
                f"{keys_of('max_iter')} is {self.max_iter}: there is nothing left to train."
            )
        elif isinstance(self.scheduler, LRMultiplier):
            # The optimiser has the rate of the schedule before, which may have been another one.
            groups = self._trainer.optimizer.param_groups
            for group, lr in zip(groups, self.scheduler.get_lr(), strict=True):
                group["lr"] = lr

    def after_train(self):
        self._trainer.end_loading()  # or the program waits a minute for the workers
        failed = isinstance(sys.exc_info()[1], Exception)
        # After a failure, this may fail as well: the first error counts.
        with contextlib.suppress(Exception) if failed else contextlib.nullcontext():
            try:
                self.checkpointer.flush()  # hooks may take the checkpoints elsewhere
            finally:
                super().after_train()

    def state_dict(self) -> dict:
        return {**super().state_dict(), "run": self._shape()}

    def _shape(self) -> dict[str, int]:
        """What may differ in a run that is resumed, by its name in the log."""
        return {"iterations": self.max_iter, "processes": comm.get_world_size()}

    def load_state_dict(self, state_dict: dict) -> None:
        if "_trainer" not in state_dict:  # of a LazyConfig, by an earlier version
            step = {name: x for name, x in state_dict.items() if name != "hooks"}
            state_dict = {**state_dict, "_trainer": step}
        super().load_state_dict(state_dict)
        self.start_iter = self.iter + 1  # the checkpoint has the iteration that it finished
        for name, value in self._shape().items():
            if (before := state_dict.get("run", {}).get(name, value)) != value:
                logger.info(f"The run had {before} {name}, it goes on with {value}.")

    def train(self) -> dict | None:
        """Trains until the last iteration, or until a hook ends it.

        Returns:
            The results of the last evaluation in the main process.
        """
        self._last_eval_results = None
        with contextlib.suppress(StopTraining):
            TrainerBase.train(self, self.start_iter, self.max_iter)
        if self.options.expected_results and comm.is_main_process():
            verify_results(self.cfg, self._last_eval_results)
        return self._last_eval_results

    @classmethod
    def test(cls, cfg, model: nn.Module, evaluators: list[DatasetEvaluator] | None = None) -> dict:
        """Evaluates a model on each test data set, see ``DefaultTrainer.test``.

        Returns:
            Results such as ``{"bbox": {"AP": ...}}``, by data set if there are several; in the
            main process, nothing in others.
        """
        results = OrderedDict()
        for i, name in enumerate(as_run(cfg).test_names):
            loader = cls.build_test_loader(cfg, name)
            evaluator = evaluators[i] if evaluators else cls.build_evaluator(cfg, name)
            results[name] = inference_on_dataset(model, loader, evaluator)
            if comm.is_main_process():
                print_csv_format(results[name])
        return next(iter(results.values())) if len(results) == 1 else results


def prepare_model(model: nn.Module, options: Options) -> None:
    """Sets a model's memory format and compiles its head, as far as the options want it.

    Raises:
        ValueError: if there is no head to compile.
    """
    if options.channels_last:
        model.to(memory_format=torch.channels_last)
    if options.compile_head:
        if not hasattr(model, "head") or getattr(model.head, "checkpoint", False):
            raise ValueError(
                f"{keys_of('compile_head')} needs a model with a head that has no checkpointing"
            )
        # In place, which leaves the names of the weights; copies are not compiled. Maps of any size
        # together with PyTorch's optimisation of the layout fail on CPUs (pytorch/pytorch#172204).
        # Without it, PyTorch 2.14 compiles the convolutions' backward pass for one size.
        model.head.compile(dynamic=True, options={"layout_optimization": False})


def _distribute(model: nn.Module, options: Options) -> nn.Module:
    on_cpu = next(model.parameters()).device.type == "cpu"
    return create_ddp_model(
        model,
        fp16_compression=options.fp16_compression,
        broadcast_buffers=options.broadcast_buffers,
        find_unused_parameters=options.find_unused_parameters,
        **({"device_ids": None} if on_cpu else {}),
    )
