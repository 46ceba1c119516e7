"""What one or two models find in a user's image, for the page's tables and texts."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from detectron2.structures import Instances

from ..inference.drawing import class_color
from ..inspection import ImageAnalysis
from ..text import printable

COLUMNS = ("class", "score", "box")


class ClassColors:
    """Numbers of colours of classes by their names, the same for all models."""

    def __init__(self):
        self._numbers: dict[str, int] = {}

    def numbers(self, names: Sequence[str]) -> list[int]:
        """The number of :func:`.class_color` of each class; new names get the next ones."""
        return [self._numbers.setdefault(name, len(self._numbers)) for name in names]

    def css(self, name: str) -> str:
        """A class's colour as CSS writes it."""
        (number,) = self.numbers([name])
        return "#" + "".join(f"{round(255 * x):02x}" for x in class_color(number))


class Result(NamedTuple):
    """Detections of a model."""

    model: str
    analysis: ImageAnalysis
    instances: Instances
    picture: np.ndarray
    """(H, W, 3) uint8 RGB, with the detections drawn."""
    seconds: float
    """Of the network, and of selecting and drawing detections."""

    @property
    def class_names(self) -> list[str]:
        """Of each detection."""
        names = self.analysis.predictor.class_names
        return [names[cls] for cls in self.instances.pred_classes]

    def rows(self) -> list[list]:
        """For each detection what the ``COLUMNS`` name: per cent, and x1 y1 x2 y2 in pixels."""
        scores = (100 * self.instances.scores).round().int().tolist()
        boxes = self.instances.pred_boxes.tensor.round().int().tolist()
        return [
            [name, score, " ".join(map(str, box))]
            for name, score, box in zip(self.class_names, scores, boxes, strict=True)
        ]

    def speed(self) -> str:
        """The time it took, in words."""
        network, all_ = (1000 * x for x in (self.analysis.network_seconds, self.seconds))
        return f"network {network:.0f} ms, with selecting and drawing {all_:.0f} ms"


def find(
    model: str,
    analysis: ImageAnalysis,
    colors: ClassColors,
    score_thresh: float,
    nms_thresh: float,
    classes: Sequence[str],
) -> Result:
    """Selects and draws detections.

    Args:
        model: its name.
        analysis: of the image.
        colors: of the classes.
        score_thresh, nms_thresh: see :meth:`.DensePredictor.select`.
        classes: names of those to keep, all if empty. The model may know none of them.
    """
    start, names = time.perf_counter(), analysis.predictor.class_names
    wanted = [i for i, name in enumerate(names) if name in classes]
    instances = analysis.detections(score_thresh, nms_thresh, wanted)
    if classes and not wanted:
        instances = instances[torch.zeros(len(instances), dtype=torch.bool)]
    picture = analysis.draw(instances, colors.numbers(names)).get_image()
    seconds = analysis.network_seconds + time.perf_counter() - start
    return Result(model, analysis, instances, picture, seconds)


def count_classes(results: Sequence[Result]) -> list[list]:
    """The names of the classes that are found, each with a number for each model."""
    counts = [Counter(x.class_names) for x in results]
    return [[name, *(x[name] for x in counts)] for name in sum(counts, Counter())]


def all_rows(results: Sequence[Result]) -> list[list]:
    """The rows of all models; of two, each row ends with the model, "A" or "B"."""
    if len(results) == 1:
        return results[0].rows()
    return [[*row, letter] for letter, x in zip("AB", results, strict=True) for row in x.rows()]


def summarize(results: Sequence[Result], file_name: str) -> str:
    """The numbers of detections and the times, in words."""
    file_name = printable(file_name)
    if not any(len(x.instances) for x in results):
        times = "; ".join(x.speed() for x in results)
        return f"Nothing found in {file_name}. Lower the score to see more. ({times})"
    if len(results) == 1:
        return f"{_objects(results[0])} in {file_name}: {results[0].speed()}."
    pairs = zip("AB", results, strict=True)
    lines = [f"{letter}: {_objects(x)}, {x.speed()}" for letter, x in pairs]
    return "\n".join([f"{file_name}:", *lines])


def _objects(result: Result) -> str:
    number = len(result.instances)
    return f"{number} object" + "s" * (number != 1)
