"""Public weights by name: downloaded, converted and cached.

``tood://tood_R_50_FPN_1x`` is a trained model, ``torchvision://resnet101`` a backbone trained
on ImageNet, ``torchvision://resnet50.IMAGENET1K_V2`` one with other weights than the first.
Detectron2's PathManager resolves them, so they serve wherever Detectron2 takes weights.
"""

import hashlib
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

from iopath.common.file_io import PathHandler, file_lock, get_cache_dir
from torchvision.models import get_model_weights

from detectron2.utils.file_io import PathManager

from .file import find_class_names, find_state_dict, read_checkpoint, save_weights
from .official import convert_official_state_dict, convert_torchvision_state_dict

_MMDET = "https://download.openmmlab.com/mmdetection/v2.0/tood"
_DRIVE = "https://drive.google.com/file/d/"

TRAINED_MODELS = {
    name: f"{_MMDET}/tood_{config}_coco/tood_{config}_coco_{version}.pth"
    for name, config, version in (
        ("tood_R_50_FPN_1x", "r50_fpn_1x", "20211210_103425-20e20746"),
        ("tood_R_50_FPN_anchor_based_1x", "r50_fpn_anchor_based_1x", "20211214_100105-b776c134"),
        ("tood_R_50_FPN_2x", "r50_fpn_mstrain_2x", "20211210_144231-3b23174c"),
        ("tood_R_101_FPN_2x", "r101_fpn_mstrain_2x", "20211210_144232-a18f53c8"),
        ("tood_R_101_DCN_FPN_2x", "r101_fpn_dconv_c3-c5_mstrain_2x", "20211210_213728-4a824142"),
        ("tood_X_101_64x4d_FPN_2x", "x101_64x4d_fpn_mstrain_2x", "20211211_003519-a4f36113"),
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


def _find_trained_model(name: str) -> str:
    urls = OFFICIAL_MODELS | TRAINED_MODELS
    if name not in urls:
        raise ValueError(f"no trained weights for {name!r}, only for {', '.join(sorted(urls))}")
    return urls[name]


def _find_torchvision_model(name: str) -> str:
    model, _, version = name.partition(".")
    try:
        known = get_model_weights(model)
    except ValueError as error:
        raise ValueError(f"torchvision has no model {model!r}") from error
    # The first ones where there are several: the official models start from those.
    version = version or next(iter(known.__members__), "")
    if version not in known.__members__:
        versions = ", ".join(known.__members__) or "none"
        raise ValueError(f"torchvision has no weights {version!r} of {model}, but {versions}")
    return known[version].url


def cached_file(scheme: str, name: str, cache_dir: str | None = None) -> str:
    """Where the converted weights "scheme://name" are kept: Detectron2's cache unless given."""
    return os.path.join(get_cache_dir(cache_dir), "tood_d2", scheme, f"{name}.pth")


class _ConvertedWeights(PathHandler):
    """Resolves "scheme://name" to a file of converted weights in the cache."""

    def __init__(
        self, scheme: str, find_url: Callable[[str], str], convert: Callable[[dict], dict]
    ):
        """
        Args:
            scheme: of the names.
            find_url: gives the address of the original by name; a ``ValueError`` if there is none.
            convert: renames the original's tensors.
        """
        super().__init__()
        self.scheme, self.find_url, self.convert = scheme, find_url, convert

    def _get_supported_prefixes(self) -> list[str]:
        return [f"{self.scheme}://"]

    def _get_local_path(self, path: str, force: bool = False, **kwargs) -> str:
        name = path.partition("://")[2].strip("/")
        url = self.find_url(name)
        converted = cached_file(self.scheme, name, kwargs.get("cache_dir"))
        os.makedirs(os.path.dirname(converted), exist_ok=True)
        with file_lock(converted):
            if force or not os.path.isfile(converted):
                checkpoint = read_checkpoint(_download(url, path, converted, force))
                weights = self.convert(find_state_dict(checkpoint))
                save_weights(weights, converted, find_class_names(checkpoint))
                logger.info(f"Converted {url} to {converted}")
        return converted


def _download(url: str, path: str, converted: str, force: bool) -> str:
    reason = "it is on a page for people"
    if not url.startswith(_DRIVE):
        try:
            local_path = PathManager.get_local_path(url, force=force)
        except OSError as error:
            reason = error
        else:
            # Publishers put the start of the file's SHA-256 into its name.
            match = re.search(r"-([0-9a-f]{8,})\.pth$", local_path)
            digest = hashlib.sha256(Path(local_path).read_bytes()).hexdigest()
            if match is None or digest.startswith(match[1]):
                return local_path
            os.remove(local_path)
            raise ValueError(f"{local_path} was damaged on its way and is removed, try again")
    raise FileNotFoundError(
        f"{path} cannot be downloaded ({reason}). Fetch {url} by hand and run "
        f"python tools/convert_checkpoint.py DOWNLOADED_FILE {converted}"
    )


PathManager.register_handler(
    _ConvertedWeights("tood", _find_trained_model, convert_official_state_dict)
)
PathManager.register_handler(
    _ConvertedWeights("torchvision", _find_torchvision_model, convert_torchvision_state_dict)
)
