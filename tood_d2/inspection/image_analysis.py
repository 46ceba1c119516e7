"""One image as one detector sees it: its detections, and what happens inside the head."""

import copy
import logging
from functools import partial

import cv2
import numpy as np

from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Instances
from detectron2.utils.visualizer import VisImage

from ..evaluation import coco_results
from ..inference.dense_predictor import DensePredictor
from ..inference.drawing import draw_detections
from ..modeling import TaskAlignedHead
from . import head_maps
from .alignment_figures import anchor_generator_of

logger = logging.getLogger(__name__)

DRAWN_SIDES = (640, 1600)
"""Pixels of a picture's longer side: smaller ones have no room for labels, larger ones are slow."""


class ImageAnalysis:
    """What a detector makes of an image.

    The network runs once when this is made, and once more when its head is looked into.

    Attributes:
        predictor: the detector.
        detections: function that selects detections, see :meth:`.DensePredictor.select`.
        levels: names of the levels.
        best_level: index of the level with the highest score.
    """

    def __init__(self, predictor: DensePredictor, image: np.ndarray):
        """
        Args:
            predictor: the detector.
            image: (H, W, 3) uint8 RGB.
        """
        self.predictor = predictor
        self.image = image
        self.predictions = predictor.predict(image)
        self.detections = partial(predictor.select, self.predictions)
        self.levels = list(predictor.model.head_in_features)
        self._generator = anchor_generator_of(predictor.model)
        self._internals: head_maps.HeadInternals | None = None
        self._point: tuple[float, float] | None = None
        best_scores = [self.maps(level).scores.max() for level in range(len(self.levels))]
        self.best_level = int(np.argmax(best_scores))

    def results(self, instances: Instances, file_name: str) -> list[dict]:
        """Detections in the form of COCO's results, see :func:`.coco_results`."""
        predictor = self.predictor
        return coco_results(instances, file_name, predictor.class_names, predictor.category_ids)

    def draw(self, instances: Instances) -> VisImage:
        """Draws detections on the image, scaled if it is not of the size ``DRAWN_SIDES``."""
        image, side = self.image, max(self.image.shape[:2])
        scale = np.clip(side, *DRAWN_SIDES) / side
        if scale != 1:
            height, width = (max(1, round(x * scale)) for x in image.shape[:2])
            interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            image = cv2.resize(image, (width, height), interpolation=interpolation)
            # It scales the boxes that it is given.
            instances = detector_postprocess(copy.deepcopy(instances), height, width)
        return draw_detections(image, instances, self.predictor.class_names)

    def look_inside(self) -> None:
        """Computes what :meth:`head_pictures` shows of a task-aligned head, the first time only."""
        model = self.predictor.model
        if self._internals is None and isinstance(model.head, TaskAlignedHead):
            self._internals = head_maps.head_internals(model, self.predictions.batched_input)
            self.predictor.num_passes += 1
            logger.info(f"Network run {self.predictor.num_passes}: to look into the head")

    def mark(self, x: float, y: float) -> None:
        """Marks the location next to a point, given in pixels of the head's pictures."""
        scale = head_maps.picture_scale(self.predictions.dense.image_size)
        self._point = x / scale, y / scale

    def maps(self, level: int, classes: list[int] | None = None) -> head_maps.LevelMaps:
        """The maps of a level, see :func:`.level_maps`."""
        dense = self.predictions.dense
        return head_maps.level_maps(dense, self._internals, self._generator, level, classes)

    def _marked_cell(self, maps: head_maps.LevelMaps) -> tuple[int, int] | None:
        return None if self._point is None else maps.cell_at(*self._point)

    def head_pictures(
        self, level: int, classes: list[int] | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Draws a level: the classes that count, all by default, and the marked location.

        Returns:
            Pictures (H, W, 3) uint8 RGB of the location, see :func:`.draw_location`, of the scores
            and of the map M, the last one None for a head that does not align scores.
        """
        maps = self.maps(level, classes)
        cell = self._marked_cell(maps)
        image = self.predictor.network_image(self.predictions)
        shown = maps.scores, maps.alignment
        drawn = (None if x is None else head_maps.draw_map(image, x, maps, cell) for x in shown)
        return head_maps.draw_location(image, maps, cell), *drawn

    def describe(self, level: int, classes: list[int] | None = None) -> str | None:
        """Puts the marked location into words, in pixels of the image; None without one."""
        maps = self.maps(level, classes)
        cell = self._marked_cell(maps)
        if cell is None:
            return None
        row, column = cell
        factors = np.divide(self.image.shape[:2], self.predictions.dense.image_size)
        factors = np.tile(factors[::-1], 2)
        x, y = maps.centers[cell].numpy() * factors[:2]
        x1, y1, x2, y2 = maps.boxes[cell].numpy() * factors
        name = self.predictor.class_names[maps.classes[cell]]
        parts = [
            f"{self.levels[level]}, row {row}, column {column} at ({x:.0f}, {y:.0f}): "
            f"score {maps.scores[cell]:.3f} for {name}"
        ]
        if maps.alignment is not None:
            parts.append(f"alignment {maps.alignment[cell]:.3f}")
        parts.append(f"box ({x1:.1f}, {y1:.1f}) to ({x2:.1f}, {y2:.1f})")
        if maps.offsets is not None:
            sides = ", ".join(f"{side} ({color})" for side, color in head_maps.SIDE_COLORS.items())
            parts.append(f"its sides are read at the points: {sides}")
        return ", ".join(parts)
