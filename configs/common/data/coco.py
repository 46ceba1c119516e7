"""COCO, or any data in COCO's form: ``dataset.train_json`` and so on take files of one's own."""

from omegaconf import OmegaConf

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L
from detectron2.data import DatasetMapper, get_detection_dataset_dicts
from detectron2.modeling import DatasetMapperTTA
from tood_d2.data import build_test_loader, build_train_loader, get_training_dicts
from tood_d2.evaluation import IllustratedCOCOEvaluator

dataset = dict(
    # Names of registered data sets, used where no JSON is given.
    train="coco_2017_train",
    test="coco_2017_val",
    # COCO JSON files and the folders of their images. Classes are read from the files.
    train_json="",
    train_images="",
    test_json="",
    test_images="",
    # Filled in by train_net.py for those who use the trained model.
    class_names=None,
)

dataloader = OmegaConf.create()

dataloader.train = L(build_train_loader)(
    dataset=L(get_training_dicts)(
        names="${dataset.train}", filter_empty=True, num_classes="${model.num_classes}"
    ),
    # Images with rare classes are repeated, see RepeatFactorTrainingSampler; 0 for never.
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
    total_batch_size=16,
    num_workers=4,
    # Images that turn out to be unreadable, and are replaced, before training ends.
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
dataloader.tta = L(DatasetMapperTTA)(
    min_sizes=[400, 500, 600, 700, 800, 900, 1000, 1100, 1200], max_size=4000, flip=True
)

dataloader.evaluator = L(IllustratedCOCOEvaluator)(
    dataset_name="${dataset.test}", tasks=["bbox"], output_dir="${train.output_dir}/inference"
)
