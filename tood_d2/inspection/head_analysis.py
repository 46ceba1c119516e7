"""What happens inside a detector's head on one image."""

import logging

import numpy as np

from ..inference.dense_predictor import DensePredictor, ImagePredictions
from ..modeling import TaskAlignedHead
from . import head_maps
from .alignment_figures import anchor_generator_of

logger = logging.getLogger(__name__)


class HeadAnalysis:
    """Maps of the levels of a head, and a location in them that is marked.

    Attributes:
        levels: names of the levels.
        best_level: index of the level with the highest score.
    """

    def __init__(self, predictor: DensePredictor, predictions: ImagePredictions):
        """
        Args:
            predictor: the detector.
            predictions: its, of an image.
        """
        self.predictor, self.predictions = predictor, predictions
        self.levels = list(predictor.model.head_in_features)
        self._generator = anchor_generator_of(predictor.model)
        self._internals: head_maps.HeadInternals | None = None
        self._point: tuple[float, float] | None = None
        best_scores = [self.maps(level).scores.max() for level in range(len(self.levels))]
        self.best_level = int(np.argmax(best_scores))

    def look_inside(self) -> None:
        """Runs the network once more for what :meth:`pictures` shows of a task-aligned head."""
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

    def pictures(
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
        sample = self.predictions.batched_input
        size = sample["height"], sample["width"]
        factors = np.divide(size, self.predictions.dense.image_size)
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
