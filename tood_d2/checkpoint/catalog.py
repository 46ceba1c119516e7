"""Public weights by name: downloaded, converted and cached.

``tood://tood_R_50_FPN_1x`` is a trained model, ``torchvision://resnet101`` a backbone trained
on ImageNet. Detectron2's PathManager resolves both, so they serve wherever Detectron2 takes
weights.
"""

import hashlib
import logging
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from iopath.common.file_io import PathHandler, file_lock, get_cache_dir
from torch import Tensor
from torchvision.models import get_model_weights

from detectron2.utils.file_io import PathManager

from .atomic import atomic_write
from .file import load_class_names, load_state_dict
from .official import convert_official_state_dict
from .torchvision import convert_torchvision_state_dict

_MMDET = "https://download.openmmlab.com/mmdetection/v2.0/tood/"
_DRIVE = "https://drive.google.com/file/d/"

TRAINED_MODELS = {
    name: f"{_MMDET}{folder}/{folder}_{version}.pth"
    for name, folder, version in (
        ("tood_R_50_FPN_1x", "tood_r50_fpn_1x_coco", "20211210_103425-20e20746"),
        (
            "tood_R_50_FPN_anchor_based_1x",
            "tood_r50_fpn_anchor_based_1x_coco",
            "20211214_100105-b776c134",
        ),
        ("tood_R_50_FPN_2x", "tood_r50_fpn_mstrain_2x_coco", "20211210_144231-3b23174c"),
        ("tood_R_101_FPN_2x", "tood_r101_fpn_mstrain_2x_coco", "20211210_144232-a18f53c8"),
        (
            "tood_R_101_DCN_FPN_2x",
            "tood_r101_fpn_dconv_c3-c5_mstrain_2x_coco",
            "20211210_213728-4a824142",
        ),
        (
            "tood_X_101_64x4d_FPN_2x",
            "tood_x101_64x4d_fpn_mstrain_2x_coco",
            "20211211_003519-a4f36113",
        ),
    )
}
"""MMDetection's weights (its configs/tood/metafile.yml), by the name of the config."""

OFFICIAL_MODELS = {
    "tood_R_50_FPN_1x": f"{_DRIVE}1M7ccIsfQKA5pEtgMlRSadokLu_cFKO4B",
    "tood_R_50_FPN_anchor_based_1x": f"{_DRIVE}1G3Waqs3Xh7h1bfwcUfek91S1JKRCTAdV",
    "tood_R_101_FPN_2x": f"{_DRIVE}14NTtLVpG0I75jb55hB6smnibknkQ4wdb",
    "tood_X_101_64x4d_FPN_2x": f"{_DRIVE}1IbCZ5Lim_vkgRctsJ7Sb8czrOFQpmuRF",
    "tood_R_101_DCN_FPN_2x": f"{_DRIVE}1ufipVoODv-NgthQ8ZvLeW12TEIsCgWl5",
    "tood_X_101_64x4d_DCN_FPN_2x": f"{_DRIVE}1xYSuZF5RfK81rJImNlTZWbIhPWfb5S5-",
}
"""The authors' weights (README of fcjian/TOOD). Pages to download from by hand."""

logger = logging.getLogger(__name__)


def save_weights(state_dict: dict[str, Tensor], path: str, class_names: Sequence[str] = ()) -> None:
    """Writes weights in the form that Detectron2 reads, whole or not at all.

    Args:
        state_dict: of a model, in this project's names.
        path: to write to.
        class_names: of the model's classes, if they are known.
    """
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    content = {"model": state_dict, "__author__": "tood_d2", "class_names": list(class_names)}
    with atomic_write(path) as file:
        torch.save(content, file)


class _ConvertedWeights(PathHandler, ABC):
    """Resolves ``prefix`` + name to a file of converted weights in the cache."""

    prefix: str

    @abstractmethod
    def find_url(self, name: str) -> tuple[str, bool]:
        """Where the original is, and whether a program can download it from there.

        Raises:
            ValueError: if there is no such model.
        """

    @abstractmethod
    def convert(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Renames the original's tensors."""

    def _get_supported_prefixes(self) -> list[str]:
        return [self.prefix]

    def _get_local_path(self, path: str, force: bool = False, **kwargs) -> str:
        name = path[len(self.prefix) :].strip("/")
        url, downloadable = self.find_url(name)
        folder = get_cache_dir(kwargs.get("cache_dir"))
        converted = os.path.join(folder, "tood_d2", self.prefix[: -len("://")], f"{name}.pth")
        os.makedirs(os.path.dirname(converted), exist_ok=True)
        with file_lock(converted):
            if force or not os.path.isfile(converted):
                if not downloadable:
                    raise FileNotFoundError(_by_hand(path, url, converted))
                try:
                    original = PathManager.get_local_path(url, force=force)
                except OSError as error:
                    message = f"{error}. {_by_hand(path, url, converted)}"
                    raise FileNotFoundError(message) from error
                _check_hash(original)
                names = load_class_names(original)
                save_weights(self.convert(load_state_dict(original)), converted, names)
                logger.info(f"Converted {url} to {converted}")
        return converted


def _by_hand(path: str, url: str, converted: str) -> str:
    return (
        f"{path} has to be fetched by hand: download {url} and run "
        f"python tools/convert_checkpoint.py DOWNLOADED_FILE {converted}"
    )


def _check_hash(path: str) -> None:
    """Compares with the start of the file's SHA-256 that publishers put into its name."""
    match = re.search(r"-([0-9a-f]{8,})\.pth$", path)
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    if match and not digest.hexdigest().startswith(match[1]):
        os.remove(path)
        raise ValueError(f"{path} was damaged on its way and is removed, try again")


class _TrainedModels(_ConvertedWeights):
    prefix = "tood://"

    def find_url(self, name):
        if name in TRAINED_MODELS:
            return TRAINED_MODELS[name], True
        if name in OFFICIAL_MODELS:
            return OFFICIAL_MODELS[name], False
        known = ", ".join(sorted({*TRAINED_MODELS, *OFFICIAL_MODELS}))
        raise ValueError(f"no trained weights for {name!r}, only for {known}")

    def convert(self, state_dict):
        return convert_official_state_dict(state_dict)


class _TorchvisionBackbones(_ConvertedWeights):
    prefix = "torchvision://"

    def find_url(self, name):
        try:
            return get_model_weights(name).IMAGENET1K_V1.url, True
        except ValueError as error:
            raise ValueError(f"torchvision has no model {name!r}") from error

    def convert(self, state_dict):
        return convert_torchvision_state_dict(state_dict)


PathManager.register_handler(_TrainedModels())
PathManager.register_handler(_TorchvisionBackbones())
