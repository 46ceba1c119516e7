"""ImageNet weights of torchvision's ResNets and ResNeXts."""

from collections.abc import Mapping

from torch import Tensor

from .official import convert_official_state_dict


def convert_torchvision_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the tensors of a torchvision ResNet or ResNeXt to those of TOOD's backbone.

    The official models call them as torchvision does, after "backbone.". The classifier
    ``fc`` is left out.

    Raises:
        ValueError: names the tensors that are not a ResNet's.
    """
    body = {f"backbone.{k}": v for k, v in state_dict.items() if not k.startswith("fc.")}
    return convert_official_state_dict(body)
