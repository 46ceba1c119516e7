"""What a dense detector predicts everywhere, before it selects detections.

N images, L levels of Hi x Wi locations with Ai anchors each, R anchors in all levels, K classes.
"""

import math
from collections.abc import Sequence
from functools import singledispatch
from typing import NamedTuple

import torch
from torch import Tensor, nn

from detectron2.modeling.meta_arch.dense_detector import DenseDetector, permute_to_N_HWA_K
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.modeling.meta_arch.retinanet import RetinaNet

from ..modeling import TOOD, FoveaBox


class DensePredictions(NamedTuple):
    """The predictions of one image, level after level, row after row, anchor after anchor."""

    scores: Tensor
    """(R, K) probabilities, as the detector ranks its predictions."""
    boxes: Tensor
    """(R, 4) XYXY in pixels of the network input, not clipped to it."""
    image_size: tuple[int, int]
    """(height, width) of the network input before padding."""
    level_sizes: list[tuple[int, int, int]]
    """(Hi, Wi, Ai) of each level."""

    def split(self, values: Tensor) -> list[Tensor]:
        """The parts (Hi * Wi * Ai, ...) of values (R, ...) on each level."""
        return values.split([math.prod(size) for size in self.level_sizes])

    def on_level(self, values: Tensor, level: int) -> Tensor:
        """The part (Hi, Wi, Ai, ...) of values (R, ...) on one level."""
        return self.split(values)[level].unflatten(0, self.level_sizes[level])

    def class_scores(self, classes: Sequence[int] | None) -> Tensor:
        """The scores, 0 for other classes than these, if any are given."""
        if not classes:
            return self.scores
        wanted = self.scores.new_zeros(self.scores.shape[1], dtype=torch.bool)
        wanted[classes] = True
        return self.scores.where(wanted, 0)


@torch.no_grad()
def dense_predictions(model: DenseDetector, batched_inputs: list[dict]) -> list[DensePredictions]:
    """Runs a detector up to its dense predictions.

    Args:
        model: TOOD, FCOS, FoveaBox, RetinaNet or a type registered with
            :func:`scores_and_boxes`; in evaluation mode.
        batched_inputs: N dicts with "image", (C, H, W), see ``DenseDetector.forward``.

    Raises:
        TypeError: on a model of another type.
    """
    check_supported(model)
    images = model.preprocess_image(batched_inputs)
    features = model.backbone(images.tensor)
    features = [features[name] for name in model.head_in_features]
    scores, boxes = scores_and_boxes(model, features, model.head(features))
    level_sizes = [
        (*x.shape[2:], level_scores.shape[1] // x.shape[2:].numel())
        for x, level_scores in zip(features, scores, strict=True)
    ]
    per_image = zip(torch.cat(scores, 1), torch.cat(boxes, 1), images.image_sizes, strict=True)
    return [DensePredictions(*x, level_sizes) for x in per_image]


def check_supported(model: nn.Module) -> None:
    """Raises a TypeError unless :func:`scores_and_boxes` knows the type of the model."""
    if scores_and_boxes.dispatch(type(model)) is scores_and_boxes.dispatch(object):
        scores_and_boxes(model, [], ())


@singledispatch
def scores_and_boxes(
    model: DenseDetector, features: list[Tensor], predictions: tuple[list[Tensor], ...]
) -> tuple[list[Tensor], list[Tensor]]:
    """Decodes the output of a detector's head.

    Other detectors are supported by ``@scores_and_boxes.register``, see ``functools``.

    Args:
        model: decides by its type which function is called.
        features: L maps (N, channels, Hi, Wi), the input of ``model.head``.
        predictions: the output of ``model.head``.

    Returns:
        scores: L tensors (N, Hi * Wi * Ai, K), see :class:`DensePredictions`.
        boxes: L tensors (N, Hi * Wi * Ai, 4).

    Raises:
        TypeError: on a model of another type.
    """
    raise TypeError(
        f"the dense predictions of {type(model).__name__} are not known: register a function "
        "for them with tood_d2.inference.scores_and_boxes.register"
    )


@scores_and_boxes.register
def _(model: TOOD, features, predictions):
    logits, boxes, *centerness = predictions
    return _scores(model, logits, *centerness), [permute_to_N_HWA_K(x, 4) for x in boxes]


@scores_and_boxes.register(FoveaBox)
@scores_and_boxes.register(RetinaNet)
def _(model, features, predictions):
    logits, deltas = predictions
    return _scores(model, logits), _apply_deltas(model, features, deltas)


@scores_and_boxes.register
def _(model: FCOS, features, predictions):
    logits, deltas, centerness = predictions
    # Eq. 4 of https://arxiv.org/abs/2006.09214
    scores = [x.sqrt() for x in _scores(model, logits, centerness)]
    return scores, _apply_deltas(model, features, deltas)


def _scores(model: DenseDetector, logits: list[Tensor], *centerness: list[Tensor]) -> list[Tensor]:
    """Probabilities of the classes, times the centerness if there is one."""
    scores = [permute_to_N_HWA_K(x, model.num_classes).sigmoid() for x in logits]
    for levels in centerness:
        pairs = zip(scores, levels, strict=True)
        scores = [x * permute_to_N_HWA_K(y, 1).sigmoid() for x, y in pairs]
    return scores


def _apply_deltas(
    model: FCOS | RetinaNet, features: list[Tensor], deltas: list[Tensor]
) -> list[Tensor]:
    all_boxes = []
    for level_deltas, anchors in zip(deltas, model.anchor_generator(features), strict=True):
        level_deltas = permute_to_N_HWA_K(level_deltas, 4)
        pairs = level_deltas, anchors.tensor.expand_as(level_deltas)
        boxes = model.box2box_transform.apply_deltas(*(x.flatten(0, 1) for x in pairs))
        all_boxes.append(boxes.unflatten(0, level_deltas.shape[:2]))
    return all_boxes
