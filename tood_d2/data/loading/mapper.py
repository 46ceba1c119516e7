"""What becomes of a record of a data set before the model sees it."""

import copy

import numpy as np
import torch

import detectron2.data.transforms as T
from detectron2.data import DatasetMapper as _DatasetMapper
from detectron2.data.detection_utils import check_image_size

from ..images import read_image
from .augmentations import LimitAspectRatio


class DatasetMapper(_DatasetMapper):
    """Detectron2's mapper for boxes, for images of any bit depth and shape.

    Arguments are the same. Images come from :func:`.read_image` and first go through
    :class:`.LimitAspectRatio`.
    """

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
        widen = LimitAspectRatio().get_transform(image)
        aug_input = T.AugInput(widen.apply_image(image))
        transforms = widen + self.augmentations(aug_input)
        pixels = np.array(aug_input.image.transpose(2, 0, 1), order="C")
        record["image"] = torch.from_numpy(pixels)
        if not self.is_train:
            record.pop("annotations", None)
        elif "annotations" in record:
            for annotation in record["annotations"]:  # whole numbers would be cut after a resize
                annotation["bbox"] = [float(x) for x in annotation["bbox"]]
            self._transform_annotations(record, transforms, pixels.shape[1:])
        return record
