"""Test-time augmentation as a config says."""

from omegaconf import DictConfig, OmegaConf

from detectron2.config import CfgNode, instantiate
from detectron2.modeling import DatasetMapperTTA
from detectron2.modeling.meta_arch.dense_detector import DenseDetector

from .augmentation import DenseDetectorWithTTA


def with_tta(model: DenseDetector, cfg: CfgNode | DictConfig) -> DenseDetectorWithTTA:
    """Makes a model detect on the versions of each image that its config names.

    Args:
        model: in evaluation mode.
        cfg: with ``dataloader.tta``, in YAML ``TEST.AUG``.

    Raises:
        ValueError: if a LazyConfig has no ``dataloader.tta``.
    """
    if isinstance(cfg, CfgNode):
        return DenseDetectorWithTTA(model, DatasetMapperTTA(cfg), cfg.INPUT.FORMAT)
    mapper = OmegaConf.select(cfg, "dataloader.tta")
    if mapper is None:
        raise ValueError(
            "the config has no dataloader.tta, a detectron2.modeling.DatasetMapperTTA, for "
            "test-time augmentation"
        )
    return DenseDetectorWithTTA(model, instantiate(mapper), cfg.dataloader.test.mapper.image_format)
