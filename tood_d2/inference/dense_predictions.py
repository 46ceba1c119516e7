"""What a dense detector predicts everywhere, before it selects detections.

N images, L levels of Hi x Wi locations with Ai anchors each, R anchors in all levels, K classes.
"""

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
    scores = _sigmoid(logits, model.num_classes)
    for x in centerness:
        scores = _multiply(scores, _sigmoid(x, 1))
    return scores, [permute_to_N_HWA_K(x, 4) for x in boxes]


@scores_and_boxes.register(FoveaBox)
@scores_and_boxes.register(RetinaNet)
def _(model, features, predictions):
    logits, deltas = predictions
    return _sigmoid(logits, model.num_classes), _apply_deltas(model, features, deltas)


@scores_and_boxes.register
def _(model: FCOS, features, predictions):
    logits, deltas, centerness = predictions
    scores = _multiply(_sigmoid(logits, model.num_classes), _sigmoid(centerness, 1))
    # Eq. 4 of https://arxiv.org/abs/2006.09214
    return [x.sqrt() for x in scores], _apply_deltas(model, features, deltas)


def _sigmoid(logits: list[Tensor], dim: int) -> list[Tensor]:
    return [permute_to_N_HWA_K(x, dim).sigmoid() for x in logits]


def _multiply(scores: list[Tensor], factors: list[Tensor]) -> list[Tensor]:
    return [x * y for x, y in zip(scores, factors, strict=True)]


def _apply_deltas(
    model: FCOS | RetinaNet, features: list[Tensor], deltas: list[Tensor]
) -> list[Tensor]:
    decode = model.box2box_transform.apply_deltas
    return [
        torch.stack([decode(x, anchors.tensor) for x in permute_to_N_HWA_K(level_deltas, 4)])
        for level_deltas, anchors in zip(deltas, model.anchor_generator(features), strict=True)
    ]
