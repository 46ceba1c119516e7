"""Published weights of a backbone alone: of Swin, MAE's ViT, MViTv2, RegNet and others.

Detectron2's modules have the names of the original code. Files lack only what comes before these
names in a detector.
"""

import logging
import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

# In an FPN, a simple feature pyramid, and a backbone of torchvision or timm.
_PLACES = ("backbone.bottom_up.", "backbone.net.", "backbone.bottom_up.body.")
_BIAS_TABLE = "relative_position_bias_table"  # of Swin

logger = logging.getLogger(__name__)


def place_in_detector(
    weights: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> dict[str, Tensor] | None:
    """Gives weights of a backbone the names that they have in a detector.

    What a backbone has no place for is left out, such as the classifier, the norm before it, the
    class token, and masks for images of one size. Swin's biases for windows of another size are
    interpolated.

    Args:
        weights: by their published names.
        own: state dict of the detector.

    Returns:
        The weights by their names in the detector; None if they are no backbone's, or have these
        names already.

    Raises:
        ValueError: if they are of a backbone of another size.
    """
    found = {place: [x for x in weights if place + x in own] for place in _PLACES}
    place, names = max(found.items(), key=lambda item: len(item[1]))
    if not names or any(name in own for name in weights) or 2 * len(names) < len(weights):
        return None
    placed = {place + name: _fit(name, weights[name], own[place + name]) for name in names}
    misshapen = [name for name in names if placed[place + name].shape != own[place + name].shape]
    if 2 * len(misshapen) > len(names):
        examples = (
            f"{name} is {tuple(weights[name].shape)}, not {tuple(own[place + name].shape)}"
            for name in misshapen[:3]
        )
        raise ValueError(f"is of a backbone of another size: {', '.join(examples)}")
    left_out = [name for name in weights if place + name not in own]
    logger.info(
        f"Weights of a backbone: {len(names)} tensors for {place}*. "
        f"Left out: {', '.join(left_out) or 'none'}."
    )
    computed = [place + name for name in misshapen if name.endswith("relative_position_index")]
    return {name: x for name, x in placed.items() if name not in computed}


def _fit(name: str, tensor: Tensor, own: Tensor) -> Tensor:
    """Interpolates Swin's biases, (relative positions, heads), to windows of the model's size."""
    if not name.endswith(_BIAS_TABLE) or tensor.shape == own.shape:
        return tensor
    tensor = torch.as_tensor(tensor)
    old_side, side = math.isqrt(tensor.shape[0]), math.isqrt(own.shape[0])
    if tensor.shape[1] != own.shape[1] or old_side**2 != tensor.shape[0]:
        return tensor
    maps = tensor.T.reshape(1, -1, old_side, old_side)
    maps = F.interpolate(maps, size=(side, side), mode="bicubic", align_corners=True)
    return maps.flatten(2)[0].T.contiguous()
