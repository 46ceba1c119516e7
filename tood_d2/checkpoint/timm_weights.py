"""``timm://NAME``: weights of timm from the Hugging Face hub, for a :class:`.TimmBackbone`."""

import logging
import os

from iopath.common.file_io import PathHandler, file_lock, get_cache_dir

from detectron2.utils.file_io import PathManager

from .file import save_weights

logger = logging.getLogger(__name__)


class _TimmWeights(PathHandler):
    """Resolves "timm://name" to a file of converted weights in the cache.

    The name is one of ``timm.list_pretrained()``; without a tag it stands for timm's default
    weights. Only safetensors files are read.
    """

    def _get_supported_prefixes(self) -> list[str]:
        return ["timm://"]

    def _get_local_path(self, path: str, force: bool = False, **kwargs) -> str:
        name = path.partition("://")[2].strip("/")
        folder = os.path.join(get_cache_dir(kwargs.get("cache_dir")), "tood_d2", "timm")
        converted = os.path.join(folder, f"{name}.pth")
        os.makedirs(folder, exist_ok=True)
        with file_lock(converted):
            if force or not os.path.isfile(converted):
                # Makes this scheme known itself.
                from ..modeling.backbones.timm_backbone import create_features, feature_indices

                indices = feature_indices(name)
                by_hand = os.path.join(folder, f"{name}.safetensors")
                original = by_hand if os.path.isfile(by_hand) else _download(name, path, by_hand)
                body = create_features(
                    name,
                    indices.values(),
                    pretrained=True,
                    pretrained_cfg_overlay={"file": original, "custom_load": False},
                )
                weights = {f"backbone.bottom_up.body.{k}": x for k, x in body.state_dict().items()}
                save_weights(weights, converted)
                logger.info(f"Converted {original} to {converted}")
        return converted


def _download(name: str, path: str, by_hand: str) -> str:
    """The original file in the cache of the hub.

    Raises:
        FileNotFoundError: if it cannot be downloaded, with what to do.
        ValueError: if there are no such weights.
    """
    from huggingface_hub import hf_hub_download, hf_hub_url
    from timm import get_pretrained_cfg

    config = get_pretrained_cfg(name, allow_unregistered=False)
    if not config.hf_hub_id:
        raise ValueError(f"{path}: timm has no weights of {name!r} on the Hugging Face hub")
    file = config.hf_hub_filename or "model.safetensors"
    try:
        return hf_hub_download(config.hf_hub_id, file)
    except OSError as error:
        raise FileNotFoundError(
            f"{path} cannot be downloaded ({error}). Fetch {hf_hub_url(config.hf_hub_id, file)} by "
            f"hand and save it as {by_hand}"
        ) from error


PathManager.register_handler(_TimmWeights())
