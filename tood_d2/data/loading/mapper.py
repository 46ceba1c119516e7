"""What becomes of a record of a data set before the model sees it."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torchvision.transforms import v2

import detectron2.data.transforms as T
from detectron2.config import configurable
from detectron2.data import DatasetMapper as _DatasetMapper
from detectron2.data.detection_utils import check_image_size, filter_empty_instances, get_bbox
from detectron2.structures import Boxes, Instances

from ..images import read_image
from .aug_input import ImageWithBoxes
from .augmentations import LimitAspectRatio, TorchvisionAugmentation


class DatasetMapper(_DatasetMapper):
    """Detectron2's mapper for boxes, for images of any bit depth and shape.

    Images come from :func:`.read_image` and first go through :class:`.LimitAspectRatio`.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform | v2.Transform],
        min_visible: float = 0.0,
        **kwargs,
    ):
        """
        Args:
            augmentations: Detectron2's, or torchvision's for training.
            min_visible: share of a box that crops have to leave for the object to be kept.
            is_train, kwargs: see Detectron2's.
        """
        augmentations = [
            TorchvisionAugmentation(x) if isinstance(x, v2.Transform) else x for x in augmentations
        ]
        super().__init__(is_train, augmentations=augmentations, **kwargs)
        self.min_visible = min_visible

    @classmethod
    def from_config(cls, cfg, is_train: bool = True) -> dict:
        return super().from_config(cfg, is_train) | {"min_visible": cfg.INPUT.MIN_VISIBLE}

    def __call__(self, dataset_dict: dict) -> dict:
        """Maps a record with "file_name" and, for training, "annotations".

        Returns:
            A copy with "image", (C, H, W) uint8, and for training "instances" of that size.

        Raises:
            FileNotFoundError, ValueError: if the image cannot be read.
            SizeMismatchError: if it has another size than the record says.
        """
        record = copy.deepcopy(dataset_dict)
        image = read_image(record["file_name"], self.image_format)
        check_image_size(record, image)
        annotations = record.get("annotations", []) if self.is_train else []
        for annotation in annotations:  # whole numbers would be cut after a resize
            annotation["bbox"] = [float(x) for x in annotation["bbox"]]
        objects = [x for x in annotations if not x.get("iscrowd")]
        boxes = np.array([get_bbox(x) for x in objects], dtype=np.float64).reshape(-1, 4)
        aug_input = ImageWithBoxes(image, boxes, self.image_format)
        augmentations = T.AugmentationList([LimitAspectRatio(), *self.augmentations.augs])
        transforms = augmentations(aug_input)
        pixels = np.array(aug_input.image.transpose(2, 0, 1), order="C")
        record["image"] = torch.from_numpy(pixels)
        if not self.is_train:
            record.pop("annotations", None)
        elif self.use_instance_mask or self.use_keypoint:
            self._transform_annotations(record, transforms, pixels.shape[1:])
        elif record.pop("annotations", None) is not None:
            record["instances"] = self._instances(aug_input, objects)
        return record

    def _instances(self, aug_input: ImageWithBoxes, objects: list[dict]) -> Instances:
        instances = Instances(aug_input.image.shape[:2])
        instances.gt_boxes = Boxes(aug_input.boxes)
        instances.gt_classes = torch.tensor([x["category_id"] for x in objects], dtype=torch.int64)
        visible = (aug_input.visible > 0) & (aug_input.visible >= self.min_visible)
        return filter_empty_instances(instances[torch.from_numpy(visible)])
