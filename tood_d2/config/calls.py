"""What a dumped LazyConfig may call.

Such a YAML file tells what to call. Unlike a ``.py`` config, which is a program, it may come from a
stranger. So it may call no more than models, data and training are made of, and what is in packages
that the user trusts.
"""

import inspect
import re
import sys
from collections.abc import Collection
from typing import Any

from fvcore.common.param_scheduler import ParamScheduler
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import Sampler

import detectron2.data.transforms as T
from detectron2.data import DatasetMapper
from detectron2.evaluation import DatasetEvaluator
from detectron2.layers import ShapeSpec
from detectron2.modeling import DatasetMapperTTA, box_regression
from detectron2.modeling.matcher import Matcher
from detectron2.utils.registry import locate

from ..data.loading.mixing import Mixing
from ..modeling import ATSSAssigner, BackboneFactor, LayerDecay, TaskAlignedAssigner
from .yaml_file import MAX_VALUES

MAX_REFERENCES = 1000  # with those of what they refer to, each time

_KNOWN = (
    "tood_d2.",
    "detectron2.",
    "fvcore.",
    "torch.nn.",
    "torch.optim.",
    "torch.utils.data.",
    "torchvision.transforms.v2.",
)
_EXCLUDED = ("detectron2.modeling.mmdet_wrapper",)  # reads and calls what MMDetection can
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
    Mixing,
    box_regression.Box2BoxTransform,
    box_regression.Box2BoxTransformLinear,
    box_regression.Box2BoxTransformRotated,
    ATSSAssigner,
    BackboneFactor,
    LayerDecay,
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
    "tood_d2.data.loading.loader.build_test_loader",
    "tood_d2.data.loading.loader.build_train_loader",
    "tood_d2.inference.augmentation.build_tta_mapper",
    "tood_d2.modeling.backbones.fpn.build_fpn",
    "tood_d2.modeling.backbones.resnet.build_resnet",
}
_MOVED = {
    "tood_d2.data.filtering.": "tood_d2.data.loading.filtering.",
    "tood_d2.modeling.backbone.": "tood_d2.modeling.backbones.",
}
"""Modules of dumps that earlier versions wrote, and where they are now."""
# Arguments by which these can be made to unpickle a file of proposals.
_FORBIDDEN_ARGUMENTS = {"cfg", "proposal_files"}
_NAME = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+", re.ASCII)
# A reference to another value; others call a function of OmegaConf.
_REFERENCE = re.compile(r"\$\{[\w.\[\]]+\}", re.ASCII)
_ESCAPED = re.compile(r"(?<!\\)(\\\\)*\\\$\{")  # of text, see escape_references


def create_lazy_config(content: dict, path: str, trusted: Collection[str]) -> DictConfig:
    """Makes a LazyConfig from the content of its dump.

    Args:
        content: see :func:`.read_yaml`.
        path: of the file, to be named.
        trusted: packages that may be called, too.

    Raises:
        ValueError: if it calls what it may not, with the key.
    """
    _check(content, path, [], tuple(f"{package}." for package in trusted))
    try:
        cfg = OmegaConf.create(content, flags={"allow_objects": True})
        OmegaConf.select(cfg, "train.device")  # fails if it refers to nothing
    except (OmegaConfBaseException, MemoryError, RecursionError) as error:
        raise ValueError(f"{path} is no LazyConfig: {error}") from error
    _check_references(cfg, path)
    return cfg


def foreign_packages(content: Any) -> set[str]:
    """Packages that a dump calls and that have to be trusted for it."""
    if isinstance(content, dict):
        found = set().union(*map(foreign_packages, content.values()))
        target = content.get("_target_")
        if isinstance(target, str) and not target.startswith(_KNOWN):
            found.add(target.partition(".")[0])
        return found
    items = content if isinstance(content, list | tuple) else ()
    return set().union(*map(foreign_packages, items))


def _check(value: Any, path: str, keys: list, trusted: tuple[str, ...]) -> None:
    where = f"{path}: {'.'.join(map(str, keys))}"
    if isinstance(value, dict) and "_target_" in value:
        value["_target_"] = _checked_target(value["_target_"], where, trusted)
        for name in _FORBIDDEN_ARGUMENTS & value.keys():
            raise ValueError(f"{where} has the argument {name}, {_only_in_python()}")
    if isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _check(item, path, [*keys, key], trusted)
    elif isinstance(value, str) and "${" in _REFERENCE.sub("", _ESCAPED.sub("", value), count=1):
        raise ValueError(f"{where} is {value[:100]!r}, {_only_in_python()}")


def _checked_target(target: Any, where: str, trusted: tuple[str, ...]) -> str:
    # Nothing is imported before its name is known to be of a trusted package.
    package = ""
    if isinstance(target, str) and _NAME.fullmatch(target):
        for old, new in _MOVED.items():
            target = new + target.removeprefix(old) if target.startswith(old) else target
        if target.startswith((*_KNOWN, *trusted)):
            try:
                found = locate(target)
            except Exception as error:  # of an import
                raise ValueError(f"{where} calls {target}, which is not there: {error}") from error
            if target.startswith(trusted) or _is_harmless(found):
                return target
        elif target.partition(".")[0] not in (*sys.stdlib_module_names, "torch", "torchvision"):
            package = target.partition(".")[0]
    raise ValueError(f"{where} calls {str(target)[:100]!r}, {_only_in_python(package)}")


def _only_in_python(package: str = "") -> str:
    trust = f"allow your own package by --trust {package}, or " if package else ""
    return (
        f"which a YAML config may not have for safety. If you trust it, {trust}write it as a .py "
        "config, which is a program"
    )


def _is_harmless(target: Any) -> bool:
    if not inspect.isclass(target) and not inspect.isfunction(target):
        return False
    # Where it is defined, as modules also hold what they import.
    name = f"{target.__module__}.{target.__qualname__}"
    if not name.startswith(_KNOWN) or name.startswith(_EXCLUDED):
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
