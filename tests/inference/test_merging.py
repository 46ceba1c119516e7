"""The detections of several views of an image become one list."""

import pytest
import torch

from detectron2.structures import Boxes, Instances
from tood_d2.config import load_run
from tood_d2.config.options import MERGE_METHODS, MERGE_SCORES, Options
from tood_d2.inference.box_fusion import SCORE_TYPES
from tood_d2.inference.merging import Merging, build_merging
from tood_d2.modeling.suppression import NMS_TYPES

A, B, FAR = [0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]  # IoU of A and B: 80 / 120 = 2 / 3


def view(*rows):
    """Instances of rows of a box, a score and perhaps a class."""
    boxes, scores, classes = zip(*[(*x, 0)[:3] for x in rows], strict=True) if rows else ([],) * 3
    return Instances(
        (100, 100),
        pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        scores=torch.tensor(scores, dtype=torch.float32),
        pred_classes=torch.tensor(classes, dtype=torch.int64),
    )


def merge(*views, weights=None, **settings):
    found = Merging(**settings)(views, weights)
    assert found.image_size == (100, 100)
    fields = found.pred_boxes.tensor, found.scores, found.pred_classes
    boxes, scores, classes = (x.tolist() for x in fields)
    return boxes, pytest.approx(scores), classes


TWO = view((A, 0.8), (FAR, 0.5, 1)), view((B, 0.6))


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("hard", ([A, FAR], [0.8, 0.5], [0, 1])),
        # 0.6 (1 - 2 / 3)
        ("soft_linear", ([A, FAR, B], [0.8, 0.5, 0.2], [0, 1, 0])),
        # 0.6 exp(-4 / 9 / 0.5)
        ("soft_gaussian", ([A, FAR, B], [0.8, 0.5, 0.24666735], [0, 1, 0])),
        # Left sides: 0.6 * 2 / 1.4 = 6 / 7; scores: 1.4 / 2 and 0.5 / 2.
        ("wbf", ([[6 / 7, 0, 76 / 7, 10], FAR], [0.7, 0.25], [0, 1])),
    ],
)
def test_methods(method, expected):
    boxes, scores, classes = merge(*TWO, method=method)
    assert boxes == [pytest.approx(x) for x in expected[0]]
    assert (scores, classes) == expected[1:]
    assert merge(*TWO, method=method, max_detections=1)[2] == [0]


def test_weights_of_views():
    # NMS: 0.8 / 2, 0.5 / 2 and 0.6. Fusion: left sides 2 * 0.6 * 2 / (0.8 + 1.2) = 1.2, scores
    # (0.8 + 1.2) / 3 and 0.5 / 3.
    assert merge(*TWO, weights=[1, 2]) == ([B, FAR], [0.6, 0.25], [0, 1])
    boxes, scores, _ = merge(*TWO, weights=[1, 2], method="wbf")
    assert boxes[0] == pytest.approx([1.2, 0, 11.2, 10]) and scores == [2 / 3, 1 / 6]


@pytest.mark.parametrize("method", MERGE_METHODS)
def test_views_without_detections(method):
    assert merge(view(), view(), method=method) == ([], [], [])
    boxes, _, classes = merge(view(), view((A, 0.8)), view(), method=method)
    assert (boxes, classes) == ([A], [0])
    assert merge(*TWO, method=method, score_thresh=0.7)[0] == [A]


@pytest.mark.parametrize("method", MERGE_METHODS)
def test_a_view_and_its_copy_give_that_view(method):
    """But Soft-NMS keeps copies with lower scores."""
    one = view((A, 0.8), (FAR, 0.5, 1))
    boxes, scores, _ = merge(one, one, method=method, max_detections=2)
    if not method.startswith("soft"):
        assert (boxes, scores) == ([A, FAR], [0.8, 0.5])
    assert boxes[0] == A


def test_options_know_all_methods():
    assert (*NMS_TYPES, "wbf") == MERGE_METHODS and MERGE_SCORES == SCORE_TYPES


@pytest.mark.parametrize("kind", ["py", "yaml"])
def test_the_options_of_both_kinds_of_config(kind, tiny_tood):
    model = tiny_tood(test_nms_thresh=0.55, max_detections_per_image=7)
    assert build_merging(Options(), model) == Merging("hard", 0.55, max_detections=7)
    values = {"method": "wbf", "iou_thresh": 0.4, "sigma": 0.1, "score_thresh": 0.2}
    values |= {"score_type": "max", "weights": "[1,2]"}
    group = "train.merge." if kind == "py" else "TEST.MERGE."
    keys = [x if kind == "py" else x.upper() for x in values]
    overrides = [f"{group}{key}={x}" for key, x in zip(keys, values.values(), strict=True)]
    options = load_run(f"tood_R_50_FPN_1x.{kind}", overrides).options
    assert build_merging(options, model) == Merging("wbf", 0.4, 0.1, 0.2, "max", 7)
    assert options.merge_weights == [1, 2]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"merge_method": "soft"},
            "should be hard or soft_linear or soft_gaussian or wbf, not 'so",
        ),
        ({"merge_iou_thresh": -0.1}, "TEST.MERGE.IOU_THRESH should be at least 0"),
        ({"merge_sigma": 0.0}, "train.merge.sigma or TEST.MERGE.SIGMA should be above 0, not 0.0"),
        ({"merge_weights": [1, 0]}, "TEST.MERGE.WEIGHTS should be numbers above 0, not [1, 0]"),
        ({"merge_weights": ["a"]}, "numbers above 0"),
        ({"merge_score_type": "mean"}, "should be avg or max"),
    ],
)
def test_wrong_options_are_refused(values, message):
    with pytest.raises(ValueError) as error:
        Options(**values)
    assert message in str(error.value)
