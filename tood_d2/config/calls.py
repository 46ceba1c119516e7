"""Configs in YAML from strangers.

One of LazyConfig's form tells what to call. Unlike a ``.py`` config, which is a program, it may
call no more than models, data and training are made of.
"""

import inspect
import os
import re
from typing import Any

from fvcore.common.param_scheduler import ParamScheduler
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import Sampler

import detectron2.data.transforms as T
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.evaluation import DatasetEvaluator
from detectron2.layers import ShapeSpec
from detectron2.modeling import DatasetMapperTTA, box_regression
from detectron2.modeling.matcher import Matcher
from detectron2.utils.registry import locate

from ..modeling import ATSSAssigner, TaskAlignedAssigner
from .yaml_file import MAX_VALUES, read_yaml

MAX_REFERENCES = 1000  # with those of what they refer to, each time

_BASE = "_BASE_"
_TOO_DEEP = (MemoryError, RecursionError)
_TRUSTED = ("tood_d2.", "detectron2.", "fvcore.", "torch.nn.", "torch.optim.", "torch.utils.data.")
_UNTRUSTED = ("detectron2.modeling.mmdet_wrapper",)  # reads and calls what MMDetection can
_CLASSES = (
    nn.Module,
    Optimizer,
    ParamScheduler,
    Sampler,
    T.Augmentation,
    T.Transform,
    DatasetMapper,
    DatasetMapperTTA,
    DatasetEvaluator,
    ShapeSpec,
    Matcher,
    box_regression.Box2BoxTransform,
    box_regression.Box2BoxTransformLinear,
    box_regression.Box2BoxTransformRotated,
    ATSSAssigner,
    TaskAlignedAssigner,
)
_FUNCTIONS = {
    "detectron2.data.build.build_detection_test_loader",
    "detectron2.data.build.build_detection_train_loader",
    "detectron2.data.build.get_detection_dataset_dicts",
    "detectron2.modeling.backbone.resnet.ResNet.make_default_stages",
    "detectron2.modeling.backbone.resnet.ResNet.make_stage",
    "detectron2.solver.build.get_default_optimizer_params",
    "tood_d2.data.loading.filtering.get_training_dicts",
    "tood_d2.data.loading.build_test_loader",
    "tood_d2.data.loading.build_train_loader",
    "tood_d2.modeling.backbones.resnet.build_fpn",
    "tood_d2.modeling.backbones.resnet.build_resnet",
}
# Arguments by which these can be made to unpickle a file of proposals.
_FORBIDDEN_ARGUMENTS = {"cfg", "proposal_files"}
_NAME = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+", re.ASCII)
# A reference to another value; others call a function of OmegaConf.
_REFERENCE = re.compile(r"\$\{[\w.\[\]]+\}", re.ASCII)

_ONLY_IN_PYTHON = (
    "which a YAML config may not have for safety. If you trust it, write it as a .py config, "
    "which is a program"
)


def is_lazy_config(content: dict) -> bool:
    """Whether the content of a YAML file is a dumped LazyConfig."""
    return "model" in content


def create_lazy_config(content: dict, path: str) -> DictConfig:
    """Makes a LazyConfig from the content of its dump.

    Args:
        content: see :func:`read_yaml`.
        path: of the file, to be named.

    Raises:
        ValueError: if it calls what it may not, with the key.
    """
    _check(content, path, [])
    try:
        cfg = OmegaConf.create(content, flags={"allow_objects": True})
        OmegaConf.select(cfg, "train.device")  # fails if it refers to nothing
    except (OmegaConfBaseException, *_TOO_DEEP) as error:
        raise ValueError(f"{path} is no LazyConfig: {error}") from error
    _check_references(cfg, path)
    return cfg


def _check(value: Any, path: str, keys: list) -> None:
    where = f"{path}: {'.'.join(map(str, keys))}"
    if isinstance(value, dict):
        if "_target_" in value:
            _check_target(value["_target_"], where)
            for name in _FORBIDDEN_ARGUMENTS & value.keys():
                raise ValueError(f"{where} has the argument {name}, {_ONLY_IN_PYTHON}")
        for key, item in value.items():
            _check(item, path, [*keys, key])
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _check(item, path, [*keys, i])
    elif isinstance(value, str) and "${" in _REFERENCE.sub("", value, count=1):
        raise ValueError(f"{where} is {value[:100]!r}, {_ONLY_IN_PYTHON}")


def _check_target(target: Any, where: str) -> None:
    # Nothing is imported before its name is known to be of a trusted package.
    if isinstance(target, str) and _NAME.fullmatch(target) and target.startswith(_TRUSTED):
        try:
            found = locate(target)
        except Exception as error:  # of an import
            raise ValueError(f"{where} calls {target}, which is not there: {error}") from error
        if _is_harmless(found):
            return
    raise ValueError(f"{where} calls {str(target)[:100]!r}, {_ONLY_IN_PYTHON}")


def _is_harmless(target: Any) -> bool:
    if not inspect.isclass(target) and not inspect.isfunction(target):
        return False
    # Where it is defined, as modules also hold what they import.
    name = f"{target.__module__}.{target.__qualname__}"
    if not name.startswith(_TRUSTED) or name.startswith(_UNTRUSTED):
        return False
    return issubclass(target, _CLASSES) if inspect.isclass(target) else name in _FUNCTIONS


def _check_references(cfg: DictConfig, path: str) -> None:
    """Refuses references that lead in circles or multiply values."""
    nodes, num_values, num_references = [cfg], 0, 0
    while nodes:
        node = nodes.pop()
        for key in node if isinstance(node, DictConfig) else range(len(node)):
            num_values += 1
            num_references += OmegaConf.is_interpolation(node, key)
            if num_values > MAX_VALUES or num_references > MAX_REFERENCES:
                raise ValueError(f"{path} has more values than any config, by its references")
            try:
                value = node[key]
            except (OmegaConfBaseException, RecursionError):  # of no value, until it is used
                continue
            if isinstance(value, DictConfig | ListConfig):
                nodes.append(value)


def merge_yaml(cfg: CfgNode, content: dict, path: str) -> None:
    """Merges a YAML config and its bases.

    Args:
        cfg: to merge into.
        content: of the file, see :func:`read_yaml`.
        path: of the file.

    Raises:
        FileNotFoundError: if a base is missing.
        ValueError: if a key is unknown or its value of another type, with the key.
    """
    try:
        cfg.merge_from_other_cfg(CfgNode(_with_bases(content, path, {})))
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError, *_TOO_DEEP) as error:
        raise ValueError(f"{path}: {error}") from error
    if cfg.MODEL.LOAD_PROPOSALS:
        raise ValueError(
            f"{path}: MODEL.LOAD_PROPOSALS unpickles files, which is not done for safety"
        )


def _with_bases(content: dict, path: str, known: dict[str, dict]) -> dict:
    names = content.pop(_BASE, [])
    merged = {}
    for name in [names] if isinstance(names, str) else names:
        base = os.path.expanduser(name)
        if not name.startswith(("https://", "http://")):
            base = os.path.join(os.path.dirname(path), base)
        if base not in known:
            known[base] = {}  # for a base that has itself for a base
            known[base] = _with_bases(read_yaml(base), base, known)
        merged = _merge(merged, known[base])
    return _merge(merged, content)


def _merge(base: dict, other: dict) -> dict:
    merged = dict(base)
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            value = _merge(base[key], value)
        merged[key] = value
    return merged
