"""Anchors for objects that are smaller than a stride: `min_candidate_size` and `min_positives`.

Where only centres count, anchors are points: empty boxes.
"""

from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses import FakeTensorMode

from detectron2.structures import Boxes
from tood_d2.modeling import ATSSAssigner, TaskAlignedAssigner
from tood_d2.modeling.assigners import MIN_ALIGNMENT, matching

both_kinds = pytest.mark.parametrize("kind", ["atss", "task_aligned"])

# Four centres, 8 px apart, and a box of 2 x 2 px between them.
CENTERS = [(8, 0), (16, 0), (8, 8), (16, 8)]
BETWEEN = [11, 3, 13, 5]


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def points(*rows):
    return boxes(*(row * 2 for row in rows))


def assign(kind, anchors, gt_boxes, pred_boxes=None, scores=None, valid=None, **settings):
    """Matches and soft labels of objects of class 0; predictions are the anchors by default."""
    if kind == "atss":
        matched_idxs = ATSSAssigner(**settings)([Boxes(anchors)], Boxes(gt_boxes), valid)
        return matched_idxs.tolist(), None
    pred_boxes = anchors if pred_boxes is None else pred_boxes
    scores = torch.full((len(anchors), 1), 0.5) if scores is None else scores
    gt_classes = torch.zeros(len(gt_boxes), dtype=torch.int64)
    inputs = (scores, Boxes(pred_boxes), Boxes(anchors), Boxes(gt_boxes), gt_classes, valid)
    matched_idxs, alignment = TaskAlignedAssigner(**settings)(*inputs)
    return matched_idxs.tolist(), alignment.tolist()


class TestMinCandidateSize:
    @both_kinds
    @pytest.mark.parametrize(
        ("size", "expected"),
        # Widened to 8 px, it ends at the centres, which are not inside.
        [(0, [-1] * 4), (2, [-1] * 4), (8, [-1] * 4), (8.1, [0] * 4)],
    )
    def test_box_between_the_centers(self, kind, size, expected):
        # Anchors of the same size around them, so that all have the same IoU with the box.
        anchors = torch.cat((points(*CENTERS)[:, :2] - 32, points(*CENTERS)[:, 2:] + 32), dim=1)
        gt_boxes = boxes(BETWEEN)
        matched_idxs, _ = assign(kind, anchors, gt_boxes, min_candidate_size=size)
        assert matched_idxs == expected

    def test_only_sides_that_are_too_short_are_widened(self):
        # 16 x 2 px become 16 x 10 px: x from 4 to 20, y from -1 to 9.
        anchors = points((3, 4), (5, -0.5), (19, 8.5), (12, 9.5), (21, 4))
        gt_boxes = boxes([4, 3, 20, 5])
        settings = {"pred_boxes": gt_boxes.expand(5, 4), "min_candidate_size": 10}
        matched_idxs, _ = assign("task_aligned", anchors, gt_boxes, **settings)
        assert matched_idxs == [-1, 0, 0, -1, -1]

    def test_objects_keep_the_order_of_their_metrics(self):
        # t = 1/2 * u^6 with u = 1 and 1/2: labels t / max t * max u.
        gt_boxes = boxes(BETWEEN)
        pred_boxes = boxes(BETWEEN, [11, 3, 13, 4])
        result = assign(
            "task_aligned", points(*CENTERS[:2]), gt_boxes, pred_boxes, min_candidate_size=16
        )
        assert result == ([0, 0], pytest.approx([1, 1 / 64], rel=1e-5))


class TestMinPositives:
    # (8, 0) is sqrt(18) px from the centre of the box, (16, 0) and (8, 8) sqrt(34), the last
    # sqrt(50).
    gt_boxes = boxes([10, 2, 12, 4])

    @both_kinds
    @pytest.mark.parametrize(
        ("number", "expected"), [(0, [-1] * 4), (1, [0, -1, -1, -1]), (3, [0, 0, 0, -1])]
    )
    def test_nearest_anchors(self, kind, number, expected):
        matched_idxs, _ = assign(kind, points(*CENTERS), self.gt_boxes, min_positives=number)
        assert matched_idxs == expected

    @pytest.mark.parametrize(
        ("pred_box", "label"),
        [
            ([10, 2, 12, 6], 0.5),  # IoU 4 / 8
            ([8, 0, 16, 8], MIN_ALIGNMENT),  # 4 / 64
            ([20, 2, 22, 4], MIN_ALIGNMENT),  # 0
            ([torch.nan] * 4, MIN_ALIGNMENT),
        ],
    )
    @pytest.mark.parametrize("score", [0, 0.5])
    def test_label_is_the_iou_or_a_floor(self, pred_box, label, score):
        scores = torch.full((1, 1), float(score))
        result = assign(
            "task_aligned",
            points((8, 0)),
            self.gt_boxes,
            boxes(pred_box),
            scores,
            min_positives=1,
        )
        assert result == ([0], pytest.approx([label]))

    def test_labels_of_other_anchors_stay(self):
        # The second anchor is inside and predicts the box: t / (t + 1e-7) = 1. The first one is
        # given besides.
        gt_boxes = self.gt_boxes
        anchors = points((8, 0), (11, 3), (20, 0))
        pred_boxes = boxes([10, 2, 12, 6], [10, 2, 12, 4], [10, 2, 12, 4])
        result = assign("task_aligned", anchors, gt_boxes, pred_boxes, min_positives=2)
        assert result == ([0, 0, -1], pytest.approx([0.5, 1, 0], rel=1e-5))

    @both_kinds
    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_the_nearer_object_has_an_anchor_and_the_other_its_next(self, kind, order):
        # Centres (11, 3) and (10, 2): both are next to (8, 0). The first has 2 * 3^2 px there,
        # the second 2 * 2^2, so the first takes (16, 0) or (8, 8), of which (16, 0) is farther:
        # moved 1 px to the right.
        anchors = points((8, 0), (17, 0), (8, 8), (16, 8))
        rows = [[10, 2, 12, 4], [9, 1, 11, 3]]
        gt_boxes = boxes(*(rows[i] for i in order))
        matched_idxs, _ = assign(kind, anchors, gt_boxes, min_positives=1)
        assert matched_idxs == [order.index(1), -1, order.index(0), -1]

    @pytest.mark.parametrize(("number", "expected"), [(1, [0, 1, -1]), (2, [0, 0, 1])])
    def test_only_anchors_that_an_object_can_spare_are_taken(self, number, expected):
        """The large object has the first two, with IoU 1 and 1/2; the small one is at the second.

        It takes it from an object that keeps another one, but not the last or last but one.
        """
        anchors = points((8, 8), (24, 24), (40, 40))
        large, small = [0, 0, 32, 32], [25, 25, 27, 27]
        pred_boxes = boxes(large, [0, 0, 32, 16], [60, 60, 61, 61])
        matched_idxs, alignment = assign(
            "task_aligned", anchors, boxes(large, small), pred_boxes, min_positives=number
        )
        assert matched_idxs == expected
        assert alignment[0] == pytest.approx(1, rel=1e-4)
        assert alignment[1] == pytest.approx(MIN_ALIGNMENT if number == 1 else 1 / 64, rel=1e-4)

    @both_kinds
    @pytest.mark.parametrize(("side", "expected"), [(4, [-1, 0]), (90, [-1, 0]), (98, [0, -1])])
    def test_sizes_count_like_centers(self, kind, side, expected):
        """Of the anchors of 128 and 64 px around one point, the one that is nearer in size."""
        # Without a candidate: both are 60 px to the right of the object.
        anchors = boxes([-4, -64, 124, 64], [28, -32, 92, 32])
        gt_boxes = boxes([-side / 2, -side / 2, side / 2, side / 2])
        matched_idxs, _ = assign(kind, anchors, gt_boxes, min_positives=1)
        assert matched_idxs == expected

    @both_kinds
    def test_crowd_of_equal_objects(self, kind):
        """More of them than rounds."""
        anchors = points(*((8 * x, 8 * y) for y in range(5) for x in range(5)))
        matched_idxs, _ = assign(kind, anchors, boxes(*[BETWEEN] * 25), min_positives=1)
        assert sorted(matched_idxs) == [*range(25)]

    @both_kinds
    def test_more_objects_than_anchors(self, kind):
        anchors = points(*CENTERS)
        matched_idxs, _ = assign(kind, anchors, boxes(*[BETWEEN] * 12), min_positives=2)
        assert -1 not in matched_idxs

    @both_kinds
    def test_invalid_anchors(self, kind):
        valid = torch.tensor([False, True, True, False])
        settings = {"valid": valid, "min_positives": 4}
        matched_idxs, _ = assign(kind, points(*CENTERS), self.gt_boxes, **settings)
        assert matched_idxs == [-1, 0, 0, -1]

    @both_kinds
    def test_without_objects_or_anchors(self, kind):
        assert assign(kind, points(*CENTERS), boxes(), min_positives=1)[0] == [-1] * 4
        assert assign(kind, boxes(), self.gt_boxes, min_positives=1)[0] == []


@pytest.mark.parametrize("assigner", [ATSSAssigner, TaskAlignedAssigner])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_candidate_size": -1}, "min_candidate_size should be a number of pixels.*-1"),
        ({"min_candidate_size": float("nan")}, "min_candidate_size should be.*nan"),
        ({"min_positives": -1}, "min_positives should be a number of anchors.*-1"),
        ({"min_positives": 1.5}, "min_positives should be.*1.5"),
    ],
)
def test_impossible_settings(assigner, settings, message):
    with pytest.raises(ValueError, match=message):
        assigner(**settings)


# --- What holds for any objects and anchors ---


@st.composite
def problems(draw, objects=(1, 12), sizes=(0.5, 60)):
    """Grids of 64 px in levels of strides 8, 16 and 32, and objects anywhere, some equal.

    Returns:
        Scores (R, 1), predictions, anchors, objects, all (..., 4), and valid anchors (R,).
    """
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))

    def rand(*shape):
        return torch.rand(*shape, generator=generator)

    levels = []
    for stride in (8, 16, 32):
        steps = torch.arange(0, 64, stride, dtype=torch.float32)
        centers = torch.cartesian_prod(steps, steps)
        levels.append(torch.cat((centers - 4 * stride, centers + 4 * stride), dim=1))
    anchors = torch.cat(levels)
    number = draw(st.integers(*objects))
    least, most = sizes
    middle, half = 64 * rand(number, 2), (least + (most - least) * rand(number, 2) ** 3) / 2
    gt_boxes = torch.cat((middle - half, middle + half), dim=1)
    if draw(st.booleans()) and objects[1] > 3:
        gt_boxes[1:] = gt_boxes[0]
    hit = rand(len(anchors), 1) < 0.5
    near = gt_boxes[torch.randint(number, (len(anchors),), generator=generator)]
    pred_boxes = torch.where(hit, near, anchors) + 4 * (rand(len(anchors), 4) - 0.5)
    valid = rand(len(anchors)) < draw(st.sampled_from([0.2, 0.7, 1.1]))
    return rand(len(anchors), 1), pred_boxes, anchors, gt_boxes, valid


def assign_problem(kind, problem, **settings):
    scores, pred_boxes, anchors, gt_boxes, valid = problem
    if kind == "atss":
        levels = [Boxes(x) for x in anchors.split([64, 16, 4])]
        matched_idxs = ATSSAssigner(**settings)(levels, Boxes(gt_boxes), valid)
        return matched_idxs, (matched_idxs >= 0).float()
    gt_classes = torch.zeros(len(gt_boxes), dtype=torch.int64)
    inputs = (scores, Boxes(pred_boxes), Boxes(anchors), Boxes(gt_boxes), gt_classes, valid)
    return TaskAlignedAssigner(**settings)(*inputs)


def assert_same(actual, expected):
    for x, y in zip(actual, expected, strict=True):
        assert torch.equal(x, y)


floors = {"number": st.integers(1, 5), "size": st.sampled_from([0.0, 8.0, 17.0])}


@both_kinds
@given(problem=problems(), **floors)
def test_each_object_has_so_many_positives(kind, problem, number, size):
    """If there are as many valid anchors for each; else each valid anchor has an object."""
    valid, num_objects = problem[4], len(problem[3])
    settings = {"min_candidate_size": size, "min_positives": number}
    matched_idxs, alignment = assign_problem(kind, problem, **settings)
    assert (matched_idxs[~valid] == -1).all()
    positive = matched_idxs >= 0
    if valid.sum() >= number * num_objects:
        counts = matched_idxs[positive].bincount(minlength=num_objects)
        assert (counts >= number).all()
    else:
        assert torch.equal(positive, valid)
    assert ((alignment >= 0) & (alignment <= 1 + 1e-6)).all()
    assert torch.equal(alignment > 0, positive)


@both_kinds
@given(problem=problems(), **floors)
def test_objects_keep_as_many_as_they_have(kind, problem, number, size):
    """Of these, task alignment keeps those with the largest labels; the others stay as they are."""
    before, labels = assign_problem(kind, problem, min_candidate_size=size)
    after, _ = assign_problem(kind, problem, min_candidate_size=size, min_positives=number)
    for i in range(len(problem[3])):
        had = (before == i).nonzero()[:, 0]
        kept = after[had] == i
        assert kept.sum() >= min(len(had), number)
        if kind == "task_aligned" and 0 < len(had) <= number:
            assert kept.all()
        if kind == "task_aligned" and len(had) > number and (~kept).any():
            assert labels[had[~kept]].max() <= labels[had].sort().values[-number] + 1e-6
    enough = all((before == i).sum() >= number for i in range(len(problem[3])))
    assert not enough or torch.equal(after, before)


@both_kinds
@given(problem=problems(objects=(1, 3)), number=st.integers(1, 2), axis=st.integers(0, 1))
def test_mirrored_images_and_reversed_objects_are_assigned_alike(kind, problem, number, axis):
    scores, pred_boxes, anchors, gt_boxes, valid = problem
    settings = {"min_positives": number, "min_candidate_size": 8.0}
    # Coordinates without any symmetry, in which no two anchors are equally near.
    generator = torch.Generator().manual_seed(number)
    anchors = anchors + 2 * torch.rand(len(anchors), 2, generator=generator).repeat(1, 2)
    expected = assign_problem(kind, (scores, pred_boxes, anchors, gt_boxes, valid), **settings)

    def mirror(boxes):
        boxes = boxes.clone()
        boxes[:, [axis, axis + 2]] = -boxes[:, [axis + 2, axis]]
        return boxes

    mirrored = scores, mirror(pred_boxes), mirror(anchors), mirror(gt_boxes), valid
    assert_same(assign_problem(kind, mirrored, **settings), expected)
    reversed_ = scores, pred_boxes, anchors, gt_boxes.flip(0), valid
    matched_idxs, alignment = assign_problem(kind, reversed_, **settings)
    names = torch.arange(len(gt_boxes) - 1, -2, -1)  # -1 stays -1, as the last one
    names[-1] = -1
    assert_same((names[matched_idxs], alignment), expected)


@both_kinds
@given(problem=problems(), number=st.integers(1, 3))
def test_block_size_has_no_influence(kind, problem, number):
    expected = assign_problem(kind, problem, min_positives=number)
    with mock.patch.object(matching, "BLOCK_PAIRS", 3 * 84 + 1):
        assert_same(assign_problem(kind, problem, min_positives=number), expected)


@both_kinds
def test_assignment_needs_no_values(kind):
    """Tensors that have none show whatever would wait for the device."""
    with FakeTensorMode():
        problem = torch.zeros(84, 1), *(torch.zeros(n, 4) for n in (84, 84, 5))
        valid = torch.ones(84, dtype=torch.bool)
        settings = {"min_positives": 2, "min_candidate_size": 8.0}
        for mask in (None, valid):
            matched_idxs, alignment = assign_problem(kind, (*problem, mask), **settings)
            assert matched_idxs.shape == alignment.shape == (84,)
