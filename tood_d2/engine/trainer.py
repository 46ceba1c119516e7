"""Training of both kinds of config."""

import contextlib
import importlib
import logging
import os
import weakref

import torch
from fvcore.nn.precise_bn import get_bn_modules
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from detectron2.config import CfgNode, instantiate
from detectron2.data import DatasetMapper, build_detection_test_loader
from detectron2.engine import DefaultTrainer, TrainerBase, create_ddp_model, default_writers
from detectron2.engine.hooks import PreciseBN
from detectron2.utils.events import EventWriter

from ..checkpoint.recovery import LastCheckpoint
from ..checkpoint.training_checkpointer import TrainingCheckpointer
from ..config.datasets import build_validation_loader, known_class_names
from ..config.loading import build_model
from ..config.options import AMP_DTYPES, KEYS, TrainingOptions
from ..data import build_train_loader, get_training_dicts
from ..data.loading.samples import NamedErrors
from ..evaluation import IllustratedCOCOEvaluator
from ..evaluation.lazy_evaluation import evaluate
from .ema import build_ema
from .hooks.evaluation import StopTraining
from .hooks.phase import build_hooks
from .step import AccumulatingTrainer

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """Detectron2's trainer for YAML configs, with all that :class:`TrainingOptions` has."""

    def __init__(self, cfg: CfgNode):
        """
        Args:
            cfg: with :func:`add_tood_config`'s keys.
        """
        TrainerBase.__init__(self)
        self.cfg = cfg
        options = TrainingOptions.from_config(cfg)
        self.start_iter, self.max_iter = 0, options.max_iter
        loader = self.build_train_loader(cfg)  # first, as data may turn out to be unfit
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self._trainer, ema = _build_step(options, model, optimizer, loader, broadcast_buffers=False)
        self.checkpointer = _build_checkpointer(options, cfg, self._trainer.model, ema, self)

        def test(model: nn.Module, folder: str) -> dict:
            folder = os.path.join(cfg.OUTPUT_DIR, folder)
            names = cfg.DATASETS.TEST
            evaluators = [self.build_evaluator(cfg, name, folder) for name in names]
            self._last_eval_results = self.test(cfg, model, evaluators)
            return self._last_eval_results

        precise_bn = None
        if cfg.TEST.PRECISE_BN.ENABLED and get_bn_modules(model):
            batches, num_batches = self.build_train_loader(cfg), cfg.TEST.PRECISE_BN.NUM_ITER
            precise_bn = PreciseBN(options.eval_period, model, batches, num_batches)
        self.register_hooks(
            build_hooks(
                options,
                model,
                ema=ema,
                scheduler=self.scheduler,
                checkpointer=self.checkpointer,
                evaluate=test,
                build_validation_loader=lambda: build_validation_loader(cfg),
                build_writers=self.build_writers,
                precise_bn=precise_bn,
            )
        )

    @classmethod
    def build_train_loader(cls, cfg: CfgNode):
        dataset = get_training_dicts(
            cfg.DATASETS.TRAIN,
            cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
            num_classes=cfg.MODEL.TOOD.NUM_CLASSES,
        )
        return build_train_loader(cfg, dataset=dataset)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str):
        mapper = NamedErrors(DatasetMapper(cfg, is_train=False))
        return build_detection_test_loader(cfg, dataset_name, mapper=mapper)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str, output_dir: str | None = None):
        output_dir = output_dir or os.path.join(cfg.OUTPUT_DIR, "inference")
        return IllustratedCOCOEvaluator(dataset_name, tasks=["bbox"], output_dir=output_dir)

    def build_writers(self) -> list[EventWriter]:
        return build_writers(TrainingOptions.from_config(self.cfg), self.cfg.dump())

    def train(self):
        """Trains until the last iteration, or until a hook ends it. See ``DefaultTrainer``."""
        with contextlib.suppress(StopTraining):
            return super().train()


def train(cfg: DictConfig, resume: bool = False, last: LastCheckpoint | None = None) -> None:
    """Trains the model of a LazyConfig.

    Args:
        cfg: with ``model``, ``dataloader``, ``optimizer``, ``lr_multiplier`` and ``train`` as
            in Detectron2's ``tools/lazyconfig_train_net.py``.
        resume: go on from the last checkpoint in ``cfg.train.output_dir``, if there is one.
        last: that checkpoint, if it has been read already.
    """
    options = TrainingOptions.from_config(cfg)
    # Before it holds the model, which would be written with all its weights.
    config = OmegaConf.to_yaml(cfg) if options.wandb_project else ""
    loader = instantiate(cfg.dataloader.train)  # first, as data may turn out to be unfit
    model = build_model(cfg)
    logger.info(f"Model:\n{model}")
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    trainer, ema = _build_step(options, model, optimizer, loader, **cfg.train.ddp)
    checkpointer = _build_checkpointer(options, cfg, trainer.model, ema, trainer)
    trainer.register_hooks(
        build_hooks(
            options,
            model,
            ema=ema,
            scheduler=instantiate(cfg.lr_multiplier),
            checkpointer=checkpointer,
            evaluate=lambda model, folder: evaluate(cfg, model, folder),
            build_validation_loader=lambda: build_validation_loader(cfg),
            build_writers=lambda: build_writers(options, config),
        )
    )
    checkpointer.last = last
    checkpointer.resume_or_load(cfg.train.init_checkpoint, resume=resume)
    start_iter = 0
    if resume and checkpointer.has_checkpoint():
        start_iter = trainer.iter + 1  # the checkpoint has the iteration that it finished
    with contextlib.suppress(StopTraining):
        trainer.train(start_iter, options.max_iter)


def prepare_model(model: nn.Module, options: TrainingOptions) -> None:
    """Sets a model's memory format and compiles its head, as far as the options want it.

    Raises:
        ValueError: if there is no head to compile.
    """
    if options.channels_last:
        model.to(memory_format=torch.channels_last)
    if options.compile_head:
        if not hasattr(model, "head") or getattr(model.head, "checkpoint", False):
            keys = " or ".join(KEYS["compile_head"])
            raise ValueError(f"{keys} needs a model with a head, and that without checkpointing")
        # In place, which leaves the names of the weights; copies are not compiled. Maps of any size
        # together with PyTorch's optimisation of the layout fail on CPUs (pytorch/pytorch#172204).
        model.head.compile(dynamic=True, options={"layout_optimization": False})


def _build_step(
    options: TrainingOptions, model: nn.Module, optimizer: Optimizer, loader, **ddp
) -> tuple[AccumulatingTrainer, AveragedModel | None]:
    prepare_model(model, options)
    ema = build_ema(model, options.ema_decay) if options.ema_enabled else None
    if next(model.parameters()).device.type == "cpu":
        ddp["device_ids"] = None
    trainer = AccumulatingTrainer(
        create_ddp_model(model, **ddp),
        loader,
        optimizer,
        gradient_accumulation=options.gradient_accumulation,
        amp_dtype=AMP_DTYPES[options.amp_dtype] if options.amp_enabled else None,
        max_nonfinite_steps=options.max_nonfinite_steps,
        output_dir=options.output_dir,
    )
    return trainer, ema


def _build_checkpointer(
    options: TrainingOptions,
    cfg: CfgNode | DictConfig,
    model: nn.Module,
    ema: AveragedModel | None,
    trainer: TrainerBase,
) -> TrainingCheckpointer:
    state = {"trainer": weakref.proxy(trainer)}
    if ema is not None:
        state["ema"] = ema
    names = known_class_names(cfg)
    return TrainingCheckpointer(model, options.output_dir, names, options.seed, **state)


def build_writers(options: TrainingOptions, config: str) -> list[EventWriter]:
    """Detectron2's writers, whose TensorBoard events also go to Weights & Biases if asked for.

    Args:
        options: of the run.
        config: its config as YAML.
    """
    if options.wandb_project:
        wandb = importlib.import_module("wandb")
        wandb.init(
            project=options.wandb_project,
            dir=options.output_dir,
            config={"config": config},
            sync_tensorboard=True,
        )
    return default_writers(options.output_dir, options.max_iter)
