"""MobileNetV3-Large by the recipe of R-50.

The statistics of its batch norms are fixed as well, as torchvision's Faster R-CNN on this network
fixes its batch norms (torchvision/models/detection/faster_rcnn.py).
"""

from detectron2.config import LazyCall as L
from tood_d2.modeling import TorchvisionBackbone

from .tood_R_50_FPN_1x import dataloader, dataset, lr_multiplier, model, optimizer, train

model.backbone.bottom_up = L(TorchvisionBackbone)(
    name="mobilenet_v3_large", norm="FrozenStatsBN", freeze_at=2
)
train.init_checkpoint = "torchvision://mobilenet_v3_large"
