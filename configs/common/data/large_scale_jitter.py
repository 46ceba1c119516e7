"""Large-scale jitter: images of 0.1 to 2 times the size, cropped to a square.

As in Detectron2's projects/ViTDet/configs/common/coco_loader_lsj.py. The model pads smaller ones.
"""

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L

from .coco import dataloader, dataset

SIDE = 1024

dataloader.train.mapper.augmentations = [
    L(T.RandomFlip)(horizontal=True),
    L(T.ResizeScale)(min_scale=0.1, max_scale=2.0, target_height=SIDE, target_width=SIDE),
    L(T.FixedSizeCrop)(crop_size=[SIDE, SIDE], pad=False),
]
dataloader.test.mapper.augmentations[0].update(short_edge_length=SIDE, max_size=SIDE)
