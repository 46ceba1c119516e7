"""Runs of CfgNodes, Detectron2's YAML configs."""

import os
from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

import detectron2.data.transforms as T
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, get_detection_dataset_dicts
from detectron2.data.detection_utils import build_augmentation
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import DatasetMapperTTA, build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping

from ..data.loading import DatasetMapper, build_train_loader, get_training_dicts
from ..data.loading.samples import NamedErrors
from ..evaluation import IllustratedCOCOEvaluator
from ..modeling import BackboneFactor
from .run import Run, scaled


class YamlRun(Run):
    """A CfgNode with the keys of :func:`.add_tood_config`."""

    _KIND = 1
    cfg: CfgNode

    def get(self, key: str) -> Any:
        return reduce(getattr, key.split("."), self.cfg)

    @staticmethod
    def _set(cfg: CfgNode, key: str, value: Any) -> None:
        *folders, name = key.split(".")
        setattr(reduce(getattr, folders, cfg), name, value)

    def dump(self) -> str:
        return self.cfg.dump()

    # Data

    def _names(self, split: str) -> list[str]:
        return list(self.cfg.DATASETS[split.upper()])

    def with_datasets(self, **names: str) -> "YamlRun":
        cfg = self.cfg.clone()
        for split, name in names.items():
            cfg.DATASETS[split.upper()] = (name,) if name else ()
        return YamlRun(cfg, self.overridden)

    def training_dicts(self) -> list[dict]:
        return get_training_dicts(
            self.cfg.DATASETS.TRAIN,
            self.cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
            num_classes=self.options.num_classes,
        )

    def test_dicts(self) -> list[dict]:
        return get_detection_dataset_dicts(self.cfg.DATASETS.TEST, filter_empty=False)

    def annotated_test_mapper(self) -> DatasetMapper:
        return DatasetMapper(
            is_train=True,
            augmentations=self.test_augmentations(),
            image_format=self.options.input_format,
        )

    def build_train_loader(self):
        return build_train_loader(self.cfg, dataset=self.training_dicts())

    def build_test_loader(self, name: str):
        mapper = NamedErrors(DatasetMapper(self.cfg, is_train=False))
        return build_detection_test_loader(self.cfg, name, mapper=mapper)

    def build_evaluator(self, name: str) -> DatasetEvaluator:
        output_dir = os.path.join(self.options.output_dir, "inference")
        evaluator = IllustratedCOCOEvaluator(name, tasks=["bbox"], output_dir=output_dir)
        evaluator.look_at(self.cfg.TEST.DETECTIONS_PER_IMAGE)
        return evaluator

    def with_input_scale(self, factor: float) -> "YamlRun":
        cfg = self.cfg.clone()
        for key in ("MIN_SIZE_TRAIN", "MAX_SIZE_TRAIN", "MIN_SIZE_TEST", "MAX_SIZE_TEST"):
            cfg.INPUT[key] = scaled(cfg.INPUT[key], factor)
        return YamlRun(cfg, self.overridden)

    # Model

    def build_model(self) -> nn.Module:
        return build_model(self.cfg)

    def build_optimizer(self, model: nn.Module) -> Optimizer:
        solver, options = self.cfg.SOLVER, self.options
        if (
            options.optimizer == "SGD"
            and options.backbone_multiplier == 1
            and not options.undecayed
        ):
            return build_optimizer(self.cfg, model)
        params = get_default_optimizer_params(
            model,
            base_lr=solver.BASE_LR,
            weight_decay_norm=solver.WEIGHT_DECAY_NORM,
            bias_lr_factor=solver.BIAS_LR_FACTOR,
            weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
            lr_factor_func=BackboneFactor(options.backbone_multiplier),
            overrides={name: {"weight_decay": 0.0} for name in options.undecayed},
        )
        settings = {"lr": solver.BASE_LR, "weight_decay": solver.WEIGHT_DECAY}
        if options.optimizer == "SGD":
            settings |= {"momentum": solver.MOMENTUM, "nesterov": solver.NESTEROV}
        optimizer = getattr(torch.optim, options.optimizer)(params, **settings)
        return maybe_add_gradient_clipping(self.cfg, optimizer)

    def build_lr_scheduler(self, optimizer: Optimizer) -> LRScheduler:
        return build_lr_scheduler(self.cfg, optimizer)

    # Prediction

    def test_augmentations(self) -> Sequence[T.Augmentation]:
        return build_augmentation(self.cfg, is_train=False)

    def tta_mapper(self) -> DatasetMapperTTA:
        return DatasetMapperTTA(self.cfg)
