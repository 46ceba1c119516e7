"""ConvNeXt-T, a norm on each feature, AdamW and parameters without decay as its authors have them:

facebookresearch/ConvNeXt, object_detection/configs/convnext; they train for 3x, with smaller
learning rates for the first layers and a stochastic depth of 0.4. Schedule and stochastic depth
here are those of Swin-T in 1x.
"""

from detectron2.config import LazyCall as L
from tood_d2.modeling import TorchvisionBackbone

from .tood_Swin_T_FPN_1x import dataloader, dataset, lr_multiplier, model, optimizer, train

model.backbone.bottom_up = L(TorchvisionBackbone)(
    name="convnext_tiny", out_norm="LN", stochastic_depth_prob=0.2
)
optimizer.params.weight_decay_bias = 0.0
optimizer.params.overrides = {"layer_scale": {"weight_decay": 0.0}}
train.init_checkpoint = "torchvision://convnext_tiny"
