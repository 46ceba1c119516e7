"""Runs of LazyConfigs."""

import copy
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

import detectron2.data.transforms as T
from detectron2.config import CfgNode, instantiate
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import DatasetMapperTTA
from detectron2.solver import LRMultiplier
from detectron2.solver.build import maybe_add_gradient_clipping

from ..data.loading import DatasetMapper
from ..evaluation import IllustratedCOCOEvaluator
from .overrides import escape_references
from .run import Run, scaled


class LazyRun(Run):
    """A LazyConfig with ``model``, ``dataloader``, ``optimizer``, ``lr_multiplier`` and ``train``.

    That is the form of Detectron2's ``tools/lazyconfig_train_net.py``.
    """

    _KIND = 0
    cfg: DictConfig

    def get(self, key: str) -> Any:
        value = OmegaConf.select(self.cfg, key, throw_on_resolution_failure=False)
        return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value

    @staticmethod
    def _set(cfg: DictConfig, key: str, value: Any) -> None:
        value = escape_references(value) if isinstance(value, str) else value
        OmegaConf.update(cfg, key, value, force_add=True)

    def dump(self) -> str:
        return OmegaConf.to_yaml(self.cfg)

    # Data

    def _names(self, split: str) -> list[str]:
        names = OmegaConf.select(self.cfg, f"dataloader.{split}.dataset.names", default=[])
        return [names] if isinstance(names, str) else list(names)

    def with_datasets(self, **names: str) -> "LazyRun":
        cfg = copy.deepcopy(self.cfg)
        for split, name in names.items():
            cfg.dataset[split] = escape_references(name)
        return LazyRun(cfg, self.overridden)

    def training_dicts(self) -> list[dict]:
        return instantiate(self.cfg.dataloader.train.dataset)

    def test_dicts(self) -> list[dict]:
        return instantiate(self.cfg.dataloader.test.dataset)

    def annotated_test_mapper(self) -> DatasetMapper:
        return instantiate(OmegaConf.merge(self.cfg.dataloader.test.mapper, {"is_train": True}))

    def build_train_loader(self):
        return instantiate(self.cfg.dataloader.train)

    def build_test_loader(self, name: str):
        return instantiate(self.cfg.dataloader.test)

    def build_evaluator(self, name: str) -> DatasetEvaluator:
        evaluator = instantiate(self.cfg.dataloader.evaluator)
        limit = self.get("model.max_detections_per_image")
        if isinstance(evaluator, IllustratedCOCOEvaluator) and limit is not None:
            evaluator.look_at(limit)
        return evaluator

    def with_input_scale(self, factor: float) -> "LazyRun":
        cfg = copy.deepcopy(self.cfg)
        for loader in (cfg.dataloader.train, cfg.dataloader.test):
            for node in loader.mapper.augmentations:
                if isinstance(instantiate(node), T.ResizeShortestEdge):
                    for key in ("short_edge_length", "max_size"):
                        if key in node:
                            node[key] = scaled(node[key], factor)
        return LazyRun(cfg, self.overridden)

    # Model

    def build_model(self) -> nn.Module:
        return instantiate(self.cfg.model).to(self.options.device)

    def build_optimizer(self, model: nn.Module) -> Optimizer:
        cfg = copy.deepcopy(self.cfg)  # the config itself stays free of the model
        cfg.optimizer.params.model = model
        options = self.options
        clipping = {
            "ENABLED": options.clip_enabled,
            "CLIP_TYPE": options.clip_type,
            "CLIP_VALUE": options.clip_value,
            "NORM_TYPE": options.clip_norm_type,
        }
        solver = CfgNode({"SOLVER": {"CLIP_GRADIENTS": clipping}})
        return maybe_add_gradient_clipping(solver, instantiate(cfg.optimizer))

    def build_lr_scheduler(self, optimizer: Optimizer) -> LRScheduler:
        return LRMultiplier(optimizer, instantiate(self.cfg.lr_multiplier), self.options.max_iter)

    # Prediction

    def test_augmentations(self) -> Sequence[T.Augmentation]:
        return [instantiate(x) for x in self.cfg.dataloader.test.mapper.augmentations]

    def tta_mapper(self) -> DatasetMapperTTA:
        mapper = OmegaConf.select(self.cfg, "dataloader.tta")
        if mapper is None:
            raise ValueError(
                "the config has no dataloader.tta, a detectron2.modeling.DatasetMapperTTA, for "
                "test-time augmentation"
            )
        return instantiate(mapper)
