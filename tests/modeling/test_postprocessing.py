"""The choice of detections, by hand."""

import math

import pytest
import torch

from tood_d2.modeling.postprocessing import select_detections

IMAGE_SIZE = (100, 100)
A, B, C = [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]  # do not overlap


def detect(scores, boxes, **settings):
    """Detections of levels of scores (locations, classes) and boxes, as plain lists."""
    settings = {
        "score_thresh": 0.25,
        "topk_candidates": 1000,
        "nms_thresh": 0.6,
        "max_detections": 100,
    } | settings
    instances = select_detections(
        [torch.tensor(x) for x in scores],
        [torch.tensor(x, dtype=torch.float32) for x in boxes],
        IMAGE_SIZE,
        **settings,
    )
    assert instances.image_size == IMAGE_SIZE
    fields = (instances.pred_boxes.tensor, instances.pred_classes, instances.scores)
    boxes, classes, scores = (x.tolist() for x in fields)
    return boxes, classes, pytest.approx(scores)


def test_threshold_is_exclusive():
    scores = [[[0.25, 0.1], [0.26, 0.0]]]
    assert detect(scores, [[A, B]]) == ([B], [0], [0.26])


def test_topk_pairs_per_level():
    # Of the first level two classes at one location, then the second level's one.
    scores = [[[0.7, 0.9], [0.6, 0.5]], [[0.3, 0.0]]]
    result = detect(scores, [[A, B], [C]], topk_candidates=2)
    assert result == ([A, A, C], [1, 0, 0], [0.9, 0.7, 0.3])


def test_clips_before_nms():
    # Equal within the image, without it of IoU 100 / 400.
    boxes = [[90, 90, 100, 100], [90, 90, 110, 110]]
    scores = [[[0.8, 0.0], [0.9, 0.0]]]
    assert detect(scores, [boxes]) == ([boxes[0]], [0], [0.9])


def test_nms_is_class_wise():
    # IoU with the first box: 0.7, 0.5 and, of the other class, 1.
    boxes = [A, [0, 0, 10, 7], [0, 0, 10, 5], A]
    scores = [[[0.9, 0], [0.8, 0], [0.7, 0], [0, 0.6]]]
    assert detect(scores, [boxes]) == (
        [A, boxes[2], A],
        [0, 0, 1],
        [0.9, 0.7, 0.6],
    )


def test_maximum_of_detections():
    scores = [[[0.5, 0], [0.9, 0]], [[0, 0.7]]]
    result = detect(scores, [[A, B], [C]], max_detections=2)
    assert result == ([B, C], [0, 1], [0.9, 0.7])


def test_predictions_that_are_not_finite():
    nan, inf = math.nan, math.inf
    scores = [[[0.9, nan]], [[0.9, 0.9], [0.9, 0.9], [nan, nan], [0.9, 0.9]]]
    boxes = [[A], [[0, 0, nan, 10], [0, 0, inf, 10], B, [-inf, 0, 9, 9]]]
    assert detect(scores, boxes) == ([A], [0], [0.9])


def test_nothing_above_the_threshold():
    scores = [[[0.1, 0.2]], [[0.0, 0.25]]]
    assert detect(scores, [[A], [B]]) == ([], [], [])


def test_soft_nms_drops_what_falls_below_the_threshold():
    # IoU with the first box is 0.8 and 0.5, that of the others 0.625: see test_suppression.py.
    boxes, scores = [A, [0, 0, 10, 8], [0, 0, 10, 5]], [[[0.9], [0.8], [0.7]]]
    result = detect(scores, [boxes], nms_type="soft_gaussian")
    assert result == ([A, boxes[2]], [0, 0], [0.9, 0.42457146])
    result = detect(scores, [boxes], nms_type="soft_gaussian", score_thresh=0.05)
    assert result == ([A, boxes[2], boxes[1]], [0, 0, 0], [0.9, 0.42457146, 0.10183580])


def test_soft_nms_of_nothing_and_of_predictions_that_are_not_finite():
    nan, inf = math.nan, math.inf
    settings = {"nms_type": "soft_linear"}
    assert detect([[[0.1, 0.2]]], [[A]], **settings) == ([], [], [])
    scores = [[[0.9, nan], [0.9, 0.9], [nan, nan]]]
    assert detect(scores, [[A, [0, 0, inf, 9], B]], **settings) == ([A], [0], [0.9])
