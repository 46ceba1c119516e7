from ...checkpoint import catalog  # noqa: F401  makes tood:// and torchvision:// known
from .resnet import build_fpn, build_resnet, build_tood_resnet_fpn_backbone
from .torchvision_backbone import TorchvisionBackbone

__all__ = ["TorchvisionBackbone", "build_fpn", "build_resnet", "build_tood_resnet_fpn_backbone"]
