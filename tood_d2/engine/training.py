"""Training of both kinds of config."""

import logging
import os

from omegaconf import DictConfig

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, instantiate
from detectron2.data import build_detection_train_loader
from detectron2.engine import (
    AMPTrainer,
    DefaultTrainer,
    HookBase,
    SimpleTrainer,
    create_ddp_model,
    default_writers,
    hooks,
)
from detectron2.evaluation import COCOEvaluator
from detectron2.utils import comm

from ..data import get_training_dicts
from .config import build_model
from .evaluation import evaluate
from .hooks import build_hooks

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """Detectron2's trainer for YAML configs, with TOOD's training data and hooks."""

    @classmethod
    def build_train_loader(cls, cfg: CfgNode):
        dataset = get_training_dicts(cfg.DATASETS.TRAIN, cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS)
        return build_detection_train_loader(cfg, dataset=dataset)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str):
        output_dir = os.path.join(cfg.OUTPUT_DIR, "inference")
        return COCOEvaluator(dataset_name, tasks=["bbox"], output_dir=output_dir)

    def build_hooks(self) -> list[HookBase]:
        # Writers come last, to write what other hooks record.
        *first, last = super().build_hooks()
        return [*first, *build_hooks(self.model), last]


def train(cfg: DictConfig, resume: bool = False) -> None:
    """Trains the model of a LazyConfig.

    Args:
        cfg: with ``model``, ``dataloader``, ``optimizer``, ``lr_multiplier`` and ``train`` as
            in Detectron2's ``tools/lazyconfig_train_net.py``.
        resume: go on from the last checkpoint in ``cfg.train.output_dir``, if there is one.
    """
    model = build_model(cfg)
    logger.info(f"Model:\n{model}")
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    loader = instantiate(cfg.dataloader.train)
    on_cpu = {"device_ids": None} if cfg.train.device == "cpu" else {}
    model = create_ddp_model(model, **cfg.train.ddp, **on_cpu)
    trainer = (AMPTrainer if cfg.train.amp.enabled else SimpleTrainer)(model, loader, optimizer)
    checkpointer = DetectionCheckpointer(model, cfg.train.output_dir, trainer=trainer)
    trainer.register_hooks(
        [
            hooks.IterationTimer(),
            hooks.LRScheduler(scheduler=instantiate(cfg.lr_multiplier)),
            *build_hooks(model),
        ]
    )
    if comm.is_main_process():
        trainer.register_hooks([hooks.PeriodicCheckpointer(checkpointer, **cfg.train.checkpointer)])
    trainer.register_hooks([hooks.EvalHook(cfg.train.eval_period, lambda: evaluate(cfg, model))])
    if comm.is_main_process():
        writers = default_writers(cfg.train.output_dir, cfg.train.max_iter)
        trainer.register_hooks([hooks.PeriodicWriter(writers, period=cfg.train.log_period)])

    checkpointer.resume_or_load(cfg.train.init_checkpoint, resume=resume)
    start_iter = 0
    if resume and checkpointer.has_checkpoint():
        start_iter = trainer.iter + 1  # the checkpoint has the iteration that it finished
    trainer.train(start_iter, cfg.train.max_iter)
