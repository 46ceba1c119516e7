"""Weighted box fusion by hand, against its authors' package, and rules for any boxes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tood_d2.inference.box_fusion import SCORE_TYPES, fuse_boxes

A, B, FAR = [0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]  # IoU of A and B: 80 / 120 = 2 / 3


def fuse(*views, weights=None, **settings):
    """Boxes, scores and classes, as lists, of views that are lists of (box, score[, class])."""
    rows = [(i, *x) if len(x) == 3 else (i, *x, 0) for i, view in enumerate(views) for x in view]
    numbers, boxes, scores, classes = zip(*rows, strict=True) if rows else ([], [], [], [])
    found = fuse_boxes(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(classes, dtype=torch.int64),
        torch.tensor(numbers, dtype=torch.int64),
        weights or [1.0] * len(views),
        **settings,
    )
    return tuple(x.tolist() for x in found)


def test_two_views_of_an_object():
    # Left sides: (0.8 * 0 + 0.4 * 2) / 1.2 = 2 / 3. Scores: (0.8 + 0.4) / 2 = 0.6; alone, 0.5 / 2.
    boxes, scores, classes = fuse([(A, 0.8)], [(B, 0.4), (FAR, 0.5)])
    assert boxes == [pytest.approx([2 / 3, 0, 32 / 3, 10]), FAR]
    assert (scores, classes) == (pytest.approx([0.6, 0.25]), [0, 0])


def test_the_largest_score():
    boxes, scores, _ = fuse([(A, 0.8)], [(B, 0.4), (FAR, 0.5)], score_type="max")
    assert boxes[0] == pytest.approx([2 / 3, 0, 32 / 3, 10])
    assert scores == pytest.approx([0.8, 0.5])


def test_weights_of_the_views():
    # Left sides: (3 * 0.4 * 0 + 1 * 0.8 * 2) / (1.2 + 0.8) = 0.8. Scores: (1.2 + 0.8) / (3 + 1)
    # = 0.5; of the second view alone 0.6 / 4 = 0.15. The largest: 1.2 / 3, and 0.6 / 3.
    views = [(A, 0.4)], [(B, 0.8), (FAR, 0.6)]
    boxes, scores, _ = fuse(*views, weights=[3, 1])
    assert boxes[0] == pytest.approx([0.8, 0, 10.8, 10])
    assert scores == pytest.approx([0.5, 0.15])
    assert fuse(*views, weights=[3, 1], score_type="max")[1] == pytest.approx([0.4, 0.2])


def test_more_boxes_than_views():
    # (0.9 + 0.6 + 0.3) / 3, not / 2; with a weight of 2 of the first one, (1.8 + 1.2 + 0.3) / 5.
    views = [(A, 0.9), (A, 0.6)], [(A, 0.3)]
    assert fuse(*views)[1] == pytest.approx([0.6])
    assert fuse(*views, weights=[2, 1])[1] == pytest.approx([0.66])


def test_classes_are_fused_on_their_own():
    boxes, scores, classes = fuse([(A, 0.8, 1)], [(A, 0.6, 0), (B, 0.4, 1)])
    assert boxes == [pytest.approx([2 / 3, 0, 32 / 3, 10]), A]
    assert (scores, classes) == (pytest.approx([0.6, 0.3]), [1, 0])


def test_boxes_have_to_overlap_by_more_than_the_threshold():
    # The first box covers half of the second one.
    views = [([0, 0, 10, 5], 0.8)], [(A, 0.4)]
    assert len(fuse(*views, iou_thresh=0.5)[0]) == 2
    assert len(fuse(*views, iou_thresh=0.49)[0]) == 1


def test_low_scores_are_left_out():
    assert fuse([(A, 0.8)], [(A, 0.1)], score_thresh=0.1)[1] == pytest.approx([0.4])
    assert fuse([(A, 0.0)], [(A, 0.0)]) == ([], [], [])  # which have no mean box


def test_of_equal_scores_the_first_box_comes_first():
    places = [[20 * i, 0, 20 * i + 10, 10] for i in range(40)]
    assert fuse([(x, 0.5) for x in places], [(x, 0.5) for x in places[::-1]])[0] == places


@pytest.mark.parametrize("score_type", SCORE_TYPES)
def test_nothing_to_fuse(score_type):
    assert fuse([], [], score_type=score_type) == ([], [], [])
    point = [5, 5, 5, 5]
    assert fuse([(point, 0.5)], [(point, 0.5)], score_type=score_type)[0] == [point, point]


side, score = st.integers(1, 6), st.integers(1, 9)
detection = st.tuples(st.integers(0, 6), st.integers(0, 6), side, side, score, st.integers(0, 1))
several_views = st.lists(st.lists(detection, max_size=6), min_size=1, max_size=4)


def views_of(example):
    """Boxes with sides on a grid, and scores that all differ."""
    views, number = [], 0
    for rows in example:
        views.append([])
        for x, y, width, height, score, cls in rows:
            number += 1
            views[-1].append(([x, y, x + width, y + height], score / 10 + number / 1000, cls))
    return views


@given(several_views, st.sampled_from(SCORE_TYPES))
def test_one_view_among_copies_stays_and_scores_are_bounded(example, score_type):
    views = views_of(example)
    single = fuse(views[0], iou_thresh=1.0, score_type=score_type)
    copies = fuse(*[views[0]] * 3, iou_thresh=0.9999, score_type=score_type)
    if len({(tuple(x), cls) for x, _, cls in views[0]}) == len(views[0]):
        assert copies[0] == [pytest.approx(x) for x in single[0]]
        assert copies[1:] == (pytest.approx(single[1]), single[2])
    _, scores, _ = fuse(*views, score_type=score_type)
    best = max((x for view in views for _, x, _ in view), default=0)
    assert all(0 < x <= best + 1e-6 for x in scores)
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("score_type", SCORE_TYPES)
@given(several_views)
def test_the_authors_package_gives_the_same(score_type, example):
    """pip install ensemble-boxes; its boxes are relative to the image."""
    ensemble_boxes = pytest.importorskip("ensemble_boxes")
    views = views_of(example)
    columns = [tuple(zip(*view, strict=True)) or ([], [], []) for view in views]
    boxes = [[[x / 16 for x in box] for box in column[0]] for column in columns]
    scores, labels = ([list(column[i]) for column in columns] for i in (1, 2))
    expected = ensemble_boxes.weighted_boxes_fusion(
        boxes, scores, labels, iou_thr=0.55, conf_type=score_type
    )
    found = fuse(*views, iou_thresh=0.55, score_type=score_type)
    assert found[1] == pytest.approx(expected[1].tolist(), abs=1e-6)
    # The order of equal scores is another one there.
    scale = [16] * 4 + [1, 1]
    expected = [[*x, y, z] for x, y, z in zip(*(y.tolist() for y in expected), strict=True)]
    expected = [[a * b for a, b in zip(row, scale, strict=True)] for row in expected]
    for box, score, cls in zip(*found, strict=True):
        expected.remove(pytest.approx([*box, score, cls], abs=1e-4))
    assert not expected
