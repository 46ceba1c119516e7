"""RegNetX-4.0GF, as in this config of Detectron2:

configs/COCO-InstanceSegmentation/mask_rcnn_regnetx_4gf_dds_fpn_1x.py
"""

from detectron2.config import LazyCall as L
from tood_d2.modeling import RegNetBackbone

from .tood_R_50_FPN_1x import dataloader, dataset, lr_multiplier, model, optimizer, train

model.backbone.bottom_up = L(RegNetBackbone)(
    stem_width=32,
    depth=23,
    w_a=38.65,
    w_0=96,
    w_m=2.43,
    group_width=40,
    se_ratio=0.0,
    norm="FrozenBN",
    freeze_at=2,
)
# The weights expect BGR.
model.pixel_mean = [103.53, 116.28, 123.675]
model.pixel_std = [57.375, 57.12, 58.395]
model.input_format = "BGR"
optimizer.weight_decay = 5e-5
train.init_checkpoint = (
    "https://dl.fbaipublicfiles.com/pycls/dds_baselines/160906383/RegNetX-4.0GF_dds_8gpu.pyth"
)
