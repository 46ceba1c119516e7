"""Configs of both kinds: Detectron2's CfgNode (YAML) and LazyConfig (Python)."""

import difflib
import logging
import os
import re

import torch
from omegaconf import DictConfig, OmegaConf

from detectron2.config import CfgNode, LazyConfig, get_cfg, instantiate
from detectron2.data import Metadata, MetadataCatalog
from detectron2.modeling import build_model as build_model_from_cfg_node

from ..config import add_tood_config
from ..data import register_coco_json

logger = logging.getLogger(__name__)


def load_config(path: str, overrides: list[str] | None = None) -> CfgNode | DictConfig:
    """Reads a config of either kind, also one that training wrote to its output folder.

    A device of "cuda" becomes "cpu" where there is no GPU.

    Args:
        path: a ``.py`` (LazyConfig) or ``.yaml`` file. A YAML file with a top-level key
            ``model`` is a dumped LazyConfig.
        overrides: ``["key=value", ...]`` for LazyConfig, ``["KEY", "value", ...]`` for YAML.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if an override is malformed or its key unknown.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path!r}: no such config file (--config-file)")
    overrides = list(overrides or ())
    if path.endswith(".py") or _is_dumped_lazy_config(path):
        cfg = LazyConfig.load(path)
        for override in overrides:
            _check_override(cfg, override)
        cfg = LazyConfig.apply_overrides(cfg, overrides)
        cfg.train.device = _available(cfg.train.device)
    else:
        cfg = get_cfg()
        add_tood_config(cfg)
        cfg.merge_from_file(path)
        try:
            cfg.merge_from_list(overrides)
        except (AssertionError, KeyError) as error:
            raise ValueError(f"cannot override {' '.join(overrides)!r}: {error}") from error
        cfg.MODEL.DEVICE = _available(cfg.MODEL.DEVICE)
    return cfg


def _is_dumped_lazy_config(path: str) -> bool:
    with open(path) as f:
        return re.search(r"^model:", f.read(), re.MULTILINE) is not None


def _check_override(cfg: DictConfig, override: str) -> None:
    """LazyConfig would accept a misspelt key and ignore it."""
    key, equals, _ = override.partition("=")
    if not equals:
        raise ValueError(f"override {override!r} should have the form key=value")
    parent, _, name = key.lstrip("+~").rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    # A call may take arguments that the config does not mention.
    known = isinstance(node, DictConfig) and (name in node or "_target_" in node)
    if not known and not isinstance(node, list) and not OmegaConf.is_list(node):
        names = list(node) if isinstance(node, DictConfig) else list(cfg)
        close = difflib.get_close_matches(name, [str(x) for x in names], n=3)
        hint = f", did you mean {' or '.join(close)}?" if close else f"; known: {', '.join(names)}"
        raise ValueError(f"unknown key {key!r}{hint}")


def _available(device: str) -> str:
    if device.startswith("cuda") and not torch.cuda.is_available():
        logger.warning("No GPU available, using the CPU.")
        return "cpu"
    return device


def build_model(cfg: CfgNode | DictConfig) -> torch.nn.Module:
    """The model of a config of either kind, on the config's device."""
    if isinstance(cfg, CfgNode):
        return build_model_from_cfg_node(cfg)
    return instantiate(cfg.model).to(cfg.train.device)


def register_datasets(cfg: DictConfig) -> None:
    """Registers the JSON files of ``cfg.dataset`` and fills in what follows from them.

    These are the names of the data sets, ``dataset.class_names`` and ``model.num_classes``.

    Raises:
        ValueError: if a JSON file comes without its images or the other way round, if only
            training data is given, or if the two files differ in their categories.
    """
    if "dataset" not in cfg:  # a config of somebody else's, with data sets by name
        return
    dataset = cfg.dataset
    metadata = {}
    for split in ("train", "test"):
        json_file, images = dataset[f"{split}_json"], dataset[f"{split}_images"]
        if bool(json_file) != bool(images):
            raise ValueError(f"dataset.{split}_json and dataset.{split}_images go together")
        if json_file:
            metadata[split] = register_coco_json(json_file, images)
            dataset[split] = json_file
    if list(metadata) == ["train"]:
        raise ValueError("dataset.test_json and dataset.test_images are missing")
    if len(metadata) == 2:
        train, test = (_categories(metadata[split]) for split in ("train", "test"))
        if train != test:
            different = dict(train.items() ^ test.items())
            raise ValueError(
                f"{dataset.train_json} and {dataset.test_json} differ in their categories: "
                + ", ".join(f"{id_} ({name})" for id_, name in different.items())
            )
    if metadata:
        names = metadata["test"].thing_classes
        cfg.model.num_classes = len(names)
        dataset.class_names = list(names)


def _categories(metadata: Metadata) -> dict[int, str]:
    ids = metadata.thing_dataset_id_to_contiguous_id
    return dict(zip(ids, metadata.thing_classes, strict=True))


def class_names(cfg: CfgNode | DictConfig) -> list[str]:
    """Names of the classes that the config's model detects; numbers if they are not known."""
    if isinstance(cfg, CfgNode):
        dataset, num_classes = cfg.DATASETS.TEST, cfg.MODEL.TOOD.NUM_CLASSES
    else:
        if names := OmegaConf.select(cfg, "dataset.class_names"):
            return list(names)
        dataset, num_classes = cfg.dataloader.test.dataset.names, cfg.model.num_classes
        dataset = [dataset] if isinstance(dataset, str) else dataset
    names = MetadataCatalog.get(dataset[0]).get("thing_classes") if dataset else None
    return names or [str(i) for i in range(num_classes)]
