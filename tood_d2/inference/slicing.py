"""Detection on overlapping slices of large images, by SAHI (``pip install tood_d2[sahi]``)."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from sahi.models.base import DetectionModel
from sahi.predict import get_sliced_prediction
from sahi.prediction import ObjectPrediction
from sahi.utils.compatibility import fix_full_shape_list, fix_shift_amount_list

from detectron2.structures import Boxes, Instances

from .predictor import ImagePredictor

logging.getLogger("sahi").handlers.clear()  # which would show a warning for each image


class SlicedModel(DetectionModel):
    """A predictor in SAHI's form, for whatever SAHI offers."""

    def __init__(self, predictor: ImagePredictor, confidence_threshold: float = 0.05):
        """
        Args:
            predictor: of whole images.
            confidence_threshold: of slices' detections.
        """
        super().__init__(model=predictor, device="cpu", confidence_threshold=confidence_threshold)

    def set_model(self, model: ImagePredictor, **kwargs) -> None:
        self.model = model
        self.category_mapping = {str(i): name for i, name in enumerate(model.class_names)}

    def perform_inference(self, image: np.ndarray) -> None:
        """Detects in an image (H, W, 3), RGB."""
        (self._original_predictions,) = self.model.detect([image])

    def _create_object_prediction_list_from_original_predictions(
        self, shift_amount_list=None, full_shape_list=None
    ) -> None:
        # SAHI gives lists of one, or that one.
        (shift_amount,) = fix_shift_amount_list(shift_amount_list)
        (full_shape,) = fix_full_shape_list(full_shape_list) or [None]
        instances = self._original_predictions
        instances = instances[instances.scores >= self.confidence_threshold]
        self._object_prediction_list_per_image = [
            [
                ObjectPrediction(
                    bbox=box.tolist(),
                    score=score.item(),
                    category_id=label.item(),
                    category_name=self.model.class_names[label],
                    shift_amount=shift_amount,
                    full_shape=full_shape,
                )
                for box, score, label in zip(
                    instances.pred_boxes, instances.scores, instances.pred_classes, strict=True
                )
                if (box[2:] > box[:2]).all()  # SAHI refuses others
            ]
        ]


class SlicedPredictor:
    """Detects in slices and in the whole image, and merges what is found twice.

    Attributes:
        class_names, category_ids: see :class:`.ImagePredictor`.
    """

    def __init__(self, predictor: ImagePredictor, size: int, overlap: float = 0.2):
        """
        Args:
            predictor: of whole images.
            size: sides of a slice, in pixels.
            overlap: of neighbouring slices, as a part of the size.
        """
        self.model = SlicedModel(predictor)
        self.size = size
        self.overlap = overlap
        self.class_names = predictor.class_names
        self.category_ids = predictor.category_ids

    def __call__(self, image: np.ndarray) -> dict[str, Instances]:
        """See :meth:`.ImagePredictor.__call__`."""
        return {"instances": self._detect(image[:, :, ::-1])}

    def detect(self, images: Sequence[np.ndarray]) -> list[Instances]:
        """See :meth:`.ImagePredictor.detect`."""
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
