"""Runs of CfgNodes, Detectron2's YAML configs."""

import os
from collections.abc import Sequence
from functools import reduce
from typing import Any

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

from ..data.loading import DatasetMapper, build_train_loader, get_training_dicts
from ..data.loading.samples import NamedErrors
from ..evaluation import IllustratedCOCOEvaluator
from .run import Run


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
            cfg.DATASETS[split.upper()] = (name,)
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

    # Model

    def build_model(self) -> nn.Module:
        return build_model(self.cfg)

    def build_optimizer(self, model: nn.Module) -> Optimizer:
        return build_optimizer(self.cfg, model)

    def build_lr_scheduler(self, optimizer: Optimizer) -> LRScheduler:
        return build_lr_scheduler(self.cfg, optimizer)

    # Prediction

    def test_augmentations(self) -> Sequence[T.Augmentation]:
        return build_augmentation(self.cfg, is_train=False)

    def tta_mapper(self) -> DatasetMapperTTA:
        return DatasetMapperTTA(self.cfg)
