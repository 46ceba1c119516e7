"""Detection on overlapping slices of large images, by SAHI (``pip install tood_d2[sahi]``)."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from sahi.models.detectron2 import Detectron2DetectionModel
from sahi.predict import get_sliced_prediction

from detectron2.structures import Boxes, Instances

from .predictor import ImagePredictor

logging.getLogger("sahi").handlers.clear()  # which would show a warning for each image


class SlicedModel(Detectron2DetectionModel):
    """A predictor in SAHI's form, for whatever SAHI offers."""

    def __init__(self, predictor: ImagePredictor, confidence_threshold: float = 0.05):
        super().__init__(model=predictor, device="cpu", confidence_threshold=confidence_threshold)

    def set_model(self, model: ImagePredictor, **kwargs) -> None:
        self.model = model
        self.category_mapping = {str(i): name for i, name in enumerate(model.class_names)}

    def perform_inference(self, image: np.ndarray) -> None:
        """Detects in an image (H, W, 3), RGB."""
        (instances,) = self.model.detect([image])
        kept = instances.pred_boxes.nonempty()  # SAHI refuses others
        self._original_predictions = {"instances": instances[kept]}


class SlicedPredictor(ImagePredictor):
    """Detects in slices and in the whole image, and merges what is found twice."""

    def __init__(self, predictor: ImagePredictor, size: int, overlap: float = 0.2):
        """
        Args:
            predictor: of whole images.
            size: sides of a slice, in pixels.
            overlap: of neighbouring slices, as a part of the size.
        """
        vars(self).update(vars(predictor))
        self.model, self.size, self.overlap = SlicedModel(predictor), size, overlap

    def detect(self, images: Sequence[np.ndarray]) -> list[Instances]:
        return [self._detect(image) for image in images]

    def _detect(self, image: np.ndarray) -> Instances:
        max_pixels = Image.MAX_IMAGE_PIXELS
        try:
            found = get_sliced_prediction(
                np.ascontiguousarray(image),
                self.model,
                slice_height=self.size,
                slice_width=self.size,
                overlap_height_ratio=self.overlap,
                overlap_width_ratio=self.overlap,
                verbose=0,
            ).object_prediction_list
        finally:
            Image.MAX_IMAGE_PIXELS = max_pixels  # SAHI lifts the limit of decompression bombs
        found.sort(key=lambda x: -x.score.value)
        return Instances(
            image.shape[:2],
            pred_boxes=Boxes([x.bbox.to_xyxy() for x in found]),
            scores=torch.tensor([x.score.value for x in found]),
            pred_classes=torch.tensor([x.category.id for x in found], dtype=torch.int64),
        )
