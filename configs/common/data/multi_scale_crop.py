"""Several sizes, half of the images cropped before: DETR's augmentations.

As in Detectron2's projects/MViTv2/configs/common/coco_loader.py.
"""

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L

augmentations = [
    L(T.RandomApply)(
        tfm_or_aug=L(T.AugmentationList)(
            augs=[
                L(T.ResizeShortestEdge)(
                    short_edge_length=[400, 500, 600], sample_style="choice", max_size=1333
                ),
                L(T.RandomCrop)(crop_type="absolute_range", crop_size=[384, 600]),
            ]
        ),
        prob=0.5,
    ),
    L(T.ResizeShortestEdge)(
        short_edge_length=list(range(480, 801, 32)), sample_style="choice", max_size=1333
    ),
    L(T.RandomFlip)(horizontal=True),
]
