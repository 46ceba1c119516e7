"""COCO, or any data in COCO's form: ``dataset.train_json`` and so on name your own files."""

from omegaconf import OmegaConf

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L
from detectron2.data import get_detection_dataset_dicts
from tood_d2.config import default_options
from tood_d2.data import (
    CopyPaste,
    DatasetMapper,
    Mosaic,
    build_test_loader,
    build_train_loader,
    get_training_dicts,
)
from tood_d2.evaluation import IllustratedCOCOEvaluator
from tood_d2.inference.augmentation import build_tta_mapper

# Files of your own (docs/options.md); without them, the names of registered data sets.
dataset = dict(default_options("dataset"), train="coco_2017_train", test="coco_2017_val")

dataloader = OmegaConf.create()

dataloader.train = L(build_train_loader)(
    dataset=L(get_training_dicts)(
        names="${dataset.train}", filter_empty=True, num_classes="${model.num_classes}"
    ),
    # Share of the images below which a class is rare and its images are repeated; 0 for never.
    repeat_threshold=0.0,
    mapper=L(DatasetMapper)(
        is_train=True,
        augmentations=[
            L(T.ResizeShortestEdge)(short_edge_length=[800], sample_style="choice", max_size=1333),
            L(T.RandomFlip)(horizontal=True),
        ],
        image_format="${model.input_format}",
        use_instance_mask=False,
    ),
    # Samples of four images each, until the last part (close) of training.
    mosaic=L(Mosaic)(
        prob=0.0,
        close=0.1,
        num_iters="${train.max_iter}",
        batches_per_iter="${train.gradient_accumulation}",
        scale=[0.5, 1.0],
        min_visible=0.25,
    ),
    # Objects of other images at random places, as long as there are mosaics.
    copy_paste=L(CopyPaste)(
        prob=0.0,
        close="${..mosaic.close}",
        num_iters="${..mosaic.num_iters}",
        batches_per_iter="${..mosaic.batches_per_iter}",
        max_objects=3,
        min_visible=0.25,
    ),
    total_batch_size=16,
    num_workers=4,
    # How many unreadable images are replaced before training ends with an error.
    max_unreadable=10,
)

dataloader.test = L(build_test_loader)(
    dataset=L(get_detection_dataset_dicts)(names="${dataset.test}", filter_empty=False),
    mapper=L(DatasetMapper)(
        is_train=False,
        augmentations=[
            L(T.ResizeShortestEdge)(short_edge_length=800, sample_style="choice", max_size=1333)
        ],
        image_format="${model.input_format}",
    ),
    num_workers="${..train.num_workers}",
)

# Versions of each image for test-time augmentation (--tta).
dataloader.tta = L(build_tta_mapper)(
    short_edge_length="${..test.mapper.augmentations.0.short_edge_length}",
    scales=[0.5, 0.625, 0.75, 0.875, 1.0, 1.125, 1.25, 1.375, 1.5],
)

dataloader.evaluator = L(IllustratedCOCOEvaluator)(
    dataset_name="${dataset.test}", tasks=["bbox"], output_dir="${train.output_dir}/inference"
)
