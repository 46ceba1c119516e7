"""EfficientNet-B3, its norms, their decay and its frozen stem as in this config of MMDetection:

configs/efficientnet/retinanet_effb3_fpn_8xb4-crop896-1x_coco.py
"""

from detectron2.config import LazyCall as L
from tood_d2.modeling import TorchvisionBackbone

from .tood_R_50_FPN_1x import dataloader, dataset, lr_multiplier, model, optimizer, train

model.backbone.bottom_up = L(TorchvisionBackbone)(
    name="efficientnet_b3", norm="SyncBN", freeze_at=1, stochastic_depth_prob=0.2
)
optimizer.params.weight_decay_norm = 0.0
train.init_checkpoint = "torchvision://efficientnet_b3"
