"""Assignment, worked out by hand. Where only centres count, anchors are points: empty boxes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision.ops import box_iou

from detectron2.structures import Boxes
from tood_d2.modeling import ATSSAssigner, TaskAlignedAssigner
from tood_d2.modeling.assigners import matching


def boxes(*rows):
    return Boxes(torch.tensor(rows, dtype=torch.float32).reshape(-1, 4))


def points(*rows):
    return boxes(*(row * 2 for row in rows))


def scores(*rows):
    return torch.tensor(rows, dtype=torch.float32)


def classes(*rows):
    return torch.tensor(rows, dtype=torch.int64)


class TestTaskAlignedAssigner:
    # One box of class 1 and three anchors in it, whose predictions have IoU 1, 1/2 and 1/4.
    gt_boxes, gt_classes = boxes([0, 0, 8, 8]), classes(1)
    anchors = points((2, 2), (4, 4), (6, 6))
    pred_boxes = boxes([0, 0, 8, 8], [0, 0, 8, 4], [0, 0, 4, 4])
    pred_scores = scores([0.9, 0.25], [0.9, 0.8], [0.9, 0.5])

    def assign(self, assigner, **kwargs):
        names = ("pred_scores", "pred_boxes", "anchors", "gt_boxes", "gt_classes")
        matched_idxs, alignment = assigner(*(kwargs.get(x, getattr(self, x)) for x in names))
        assert matched_idxs.dtype == torch.int64
        assert alignment.dtype == torch.float32
        return matched_idxs.tolist(), alignment.tolist()

    def test_normalised_metric(self):
        # t = 0.25 * 1, 0.8 / 64, 0.5 / 4096. The largest is 0.25, the largest IoU 1.
        matched_idxs, alignment = self.assign(TaskAlignedAssigner())
        assert matched_idxs == [0, 0, 0]
        assert alignment == pytest.approx([1, 0.05, 0.5 / 4096 / 0.25], rel=1e-5)

    def test_exponents(self):
        pred_scores = scores([0, 0.01], [0, 0.64], [0, 0.04])
        _, alignment = self.assign(TaskAlignedAssigner(alpha=0.5, beta=1), pred_scores=pred_scores)
        # t = 0.1 * 1, 0.8 * 1/2, 0.2 * 1/4; divided by 0.4 and times the largest IoU, 1, although
        # that is another anchor's.
        assert alignment == pytest.approx([0.25, 1, 0.125], rel=1e-5)

    def test_small_constant_of_the_normalisation(self):
        # t = 1e-7 * 1: t / (t + 1e-7) = 1/2
        _, alignment = self.assign(
            TaskAlignedAssigner(topk=1), pred_scores=scores([0, 1e-7], [0, 0], [0, 0])
        )
        assert alignment == pytest.approx([0.5, 0, 0], rel=1e-3)

    def test_topk(self):
        matched_idxs, alignment = self.assign(TaskAlignedAssigner(topk=2))
        assert matched_idxs == [0, 0, -1]
        assert alignment == pytest.approx([1, 0.05, 0], rel=1e-5)

    def test_topk_counts_anchors_outside_the_box(self):
        anchors = points((9, 2), (4, 4), (6, 6))
        matched_idxs, _ = self.assign(TaskAlignedAssigner(topk=1), anchors=anchors)
        assert matched_idxs == [-1, -1, -1]
        matched_idxs, _ = self.assign(TaskAlignedAssigner(topk=2), anchors=anchors)
        assert matched_idxs == [-1, 0, -1]

    def test_metric_must_be_positive(self):
        # No score, no overlap.
        matched_idxs, alignment = self.assign(
            TaskAlignedAssigner(),
            pred_scores=scores([1, 0], [1, 1], [1, 1]),
            pred_boxes=boxes([0, 0, 8, 8], [20, 0, 28, 8], [0, 0, 8, 8]),
        )
        assert matched_idxs == [-1, -1, 0]
        assert alignment == pytest.approx([0, 0, 1], rel=1e-5)

    @pytest.mark.parametrize("center", [(-1, 4), (4, 9), (0.01, 4), (4, 0.005), (7.995, 4)])
    def test_center_outside(self, center):
        matched_idxs, _ = self.assign(
            TaskAlignedAssigner(), anchors=points(center, (0.011, 4), (4, 7.98))
        )
        assert matched_idxs == [-1, 0, 0]

    def test_conflict_rules(self):
        # The prediction has IoU 90/100 with the large box and 16/90 with the small one.
        problem = {
            "anchors": points((6, 6)),
            "pred_boxes": boxes([0, 0, 10, 9]),
            "pred_scores": scores([0.5, 0.5]),
            "gt_boxes": boxes([0, 0, 10, 10], [4, 4, 8, 8]),
            "gt_classes": classes(0, 1),
        }
        # The only anchor of its box, it gets that box's best IoU.
        matched_idxs, alignment = self.assign(
            TaskAlignedAssigner(beta=1, conflict="iou"), **problem
        )
        assert (matched_idxs, alignment) == ([0], pytest.approx([0.9], rel=1e-5))
        matched_idxs, alignment = self.assign(
            TaskAlignedAssigner(beta=1, conflict="area"), **problem
        )
        assert (matched_idxs, alignment) == ([1], pytest.approx([16 / 90], rel=1e-5))

    def test_lost_anchors_do_not_count_in_the_normalisation(self):
        # The first anchor has IoU 80/100 with the first box and 1 with the second, which gets
        # it; the second has 1/2 and 40/90. With beta = 1 the first box had t = 0.9 * 0.8 = 0.72
        # at the first and has 0.2 * 1/2 = 0.1 at the second anchor: 0.1 / 0.1 * 1/2.
        matched_idxs, alignment = self.assign(
            TaskAlignedAssigner(beta=1),
            anchors=points((4, 4), (4, 4)),
            pred_boxes=boxes([0, 0, 8, 10], [0, 0, 10, 5]),
            pred_scores=scores([0.9, 0.5], [0.2, 0.5]),
            gt_boxes=boxes([0, 0, 10, 10], [0, 0, 8, 10]),
            gt_classes=classes(0, 1),
        )
        assert matched_idxs == [1, 0]
        assert alignment == pytest.approx([1, 0.5], rel=1e-5)

    def test_duplicate_ground_truth(self):
        gt_boxes, gt_classes = boxes([0, 0, 8, 8], [0, 0, 8, 8]), classes(1, 1)
        matched_idxs, alignment = self.assign(
            TaskAlignedAssigner(), gt_boxes=gt_boxes, gt_classes=gt_classes
        )
        assert set(matched_idxs) <= {0, 1}
        assert max(alignment) == pytest.approx(1, rel=1e-5)

    def test_tiny_object(self):
        # 0.01 px: nothing can lie inside by more than that.
        matched_idxs, alignment = self.assign(
            TaskAlignedAssigner(),
            gt_boxes=boxes([4, 4, 4.01, 4.01]),
            anchors=points((4, 4), (4.005, 4.005), (4.01, 4.01)),
        )
        assert (matched_idxs, alignment) == ([-1, -1, -1], [0, 0, 0])

    def test_no_ground_truth(self):
        result = self.assign(TaskAlignedAssigner(), gt_boxes=boxes(), gt_classes=classes())
        assert result == ([-1, -1, -1], [0, 0, 0])

    @pytest.mark.parametrize("gt", [{}, {"gt_boxes": boxes(), "gt_classes": classes()}])
    def test_no_anchors(self, gt):
        result = self.assign(
            TaskAlignedAssigner(),
            pred_scores=torch.zeros(0, 2),
            pred_boxes=boxes(),
            anchors=boxes(),
            **gt,
        )
        assert result == ([], [])

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_predictions_of_mixed_precision(self, dtype):
        pred_scores, pred_boxes = (
            self.pred_scores.to(dtype),
            Boxes(self.pred_boxes.tensor.to(dtype)),
        )
        result = self.assign(TaskAlignedAssigner(), pred_scores=pred_scores, pred_boxes=pred_boxes)
        matched_idxs, alignment = self.assign(TaskAlignedAssigner())
        assert result == (matched_idxs, pytest.approx(alignment, rel=1e-2))

    def test_unknown_conflict_rule(self):
        with pytest.raises(ValueError, match=r"'iou', 'area'.*'score'"):
            TaskAlignedAssigner(conflict="score")


class TestATSSAssigner:
    # Level 0: IoU 1, 100 / 120, 0 and, farthest, 0. Level 1: 0 and 0.
    gt_boxes = boxes([0, 0, 10, 12])
    levels = [
        boxes([0, 0, 10, 12], [0, 0, 10, 10], [20, 0, 30, 12], [50, 0, 60, 12]),
        boxes([-40, 0, -20, 20], [20, 0, 40, 20]),
    ]

    def assign(self, levels, gt_boxes, topk=9):
        matched_idxs = ATSSAssigner(topk)(levels, gt_boxes)
        assert matched_idxs.dtype == torch.int64
        return matched_idxs.tolist()

    def test_threshold(self):
        # Three of level 0 and both of level 1: 1, 5/6, 0, 0, 0. Mean 11/30; squared deviations
        # 0.40111 + 0.21778 + 3 * 0.13444 = 1.02222. By 4, not 5: std 0.50553, threshold 0.87219.
        assert self.assign(self.levels, self.gt_boxes, topk=3) == [0, -1, -1, -1, -1, -1]

    def test_more_candidates_lower_the_threshold(self):
        # All six: mean 11/36, squared deviations 0.48225 + 0.27855 + 4 * 0.09336 = 1.13426,
        # std sqrt(1.13426 / 5) = 0.47629, threshold 0.78185 < 5/6.
        assert self.assign(self.levels, self.gt_boxes, topk=4) == [0, 0, -1, -1, -1, -1]

    def test_topk_holds_per_level(self):
        # One of each level: 1 and 20 * 20 / 800 = 1/2. Mean 3/4, std 1/4 * sqrt(2): threshold
        # 1.10. With the same IoU in both levels it is that IoU, which both reach.
        gt_boxes = boxes([0, 0, 20, 20])
        same, half = [0, 0, 20, 20], [0, 0, 20, 40]
        far = [90, 90, 99, 99]
        assert self.assign([boxes(same, far), boxes(half, far)], gt_boxes, topk=1) == [-1] * 4
        assert self.assign([boxes(same, far), boxes(same, far)], gt_boxes, topk=1) == [0, -1, 0, -1]

    def test_single_candidate(self):
        # It is the mean, with no deviation.
        assert self.assign([boxes([0, 0, 10, 30])], self.gt_boxes) == [-1]  # centre (5, 15)
        assert self.assign([boxes([0, 0, 10, 20])], self.gt_boxes) == [0]  # centre (5, 10)

    @pytest.mark.parametrize(("x", "expected"), [(-1, -1), (0.005, -1), (0.02, 0), (9.98, 0)])
    def test_center_inside(self, x, expected):
        assert self.assign([boxes([x - 8, 0, x + 8, 12])], self.gt_boxes) == [expected]

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_conflicts_go_to_the_larger_iou(self, order):
        # IoU 1 with the narrow box and 80/100 with the wide one, whichever comes first.
        rows = [[0, 0, 8, 10], [0, 0, 10, 10]]
        gt_boxes = boxes(*(rows[i] for i in order))
        assert self.assign([boxes(rows[0])], gt_boxes) == [order.index(0)]
        assert self.assign([boxes(rows[1])], gt_boxes) == [order.index(1)]

    def test_duplicate_ground_truth(self):
        (matched,) = self.assign([boxes([0, 0, 10, 12])], Boxes.cat([self.gt_boxes] * 2))
        assert matched in (0, 1)

    def test_tiny_object(self):
        gt_boxes = boxes([5, 6, 5.01, 6.01])
        assert self.assign(self.levels, gt_boxes) == [-1] * 6

    def test_no_ground_truth(self):
        assert self.assign(self.levels, boxes()) == [-1] * 6

    @pytest.mark.parametrize("gt_boxes", [gt_boxes, boxes()])
    def test_no_anchors(self, gt_boxes):
        assert self.assign([boxes(), boxes()], gt_boxes) == []

    def test_level_without_anchors(self):
        assert self.assign([boxes(), boxes([0, 0, 10, 12])], self.gt_boxes) == [0]


def floats(shape, limit):
    elements = st.floats(0, limit, width=32)
    return arrays("float32", shape, elements=elements, fill=st.nothing()).map(torch.from_numpy)


def random_boxes(number):
    """In a square of 64 px."""
    return floats((number, 2, 2), 64).map(lambda x: x.sort(dim=1).values.reshape(-1, 4))


@st.composite
def problems(draw, num_classes=3):
    num_boxes, num_anchors = draw(st.integers(0, 4)), draw(st.integers(0, 12))
    gt_boxes = draw(random_boxes(num_boxes))
    pred_boxes, anchors = (draw(random_boxes(num_anchors)) for _ in range(2))
    if num_boxes:
        # Every second anchor and every third prediction hits a box.
        anchors[::2] = gt_boxes[torch.arange(len(anchors[::2])) % num_boxes]
        pred_boxes[::3] = gt_boxes[torch.arange(len(pred_boxes[::3])) % num_boxes]
    pred_scores = draw(floats((num_anchors, num_classes), 1))
    return pred_scores, pred_boxes, anchors, gt_boxes, torch.arange(num_boxes) % num_classes


def centers(boxes):
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def pairs_inside(gt_boxes, anchors):
    """(M, R), whether a box contains an anchor's centre by more than 0.01 px."""
    offsets = (centers(anchors) - gt_boxes[:, None, :2], gt_boxes[:, None, 2:] - centers(anchors))
    return (torch.cat(offsets, dim=2) > 0.01).all(dim=2)


def winners(candidates, priority):
    """(R,) the box of each anchor's candidates, (M, R), with the highest priority."""
    if len(candidates) == 0:
        return torch.full(candidates.shape[1:], -1)
    best = torch.where(candidates, priority, -torch.inf).argmax(dim=0)
    return torch.where(candidates.any(dim=0), best, -1)


def dense_task_aligned(
    pred_scores, pred_boxes, anchors, gt_boxes, gt_classes, *, topk, alpha, beta, conflict
):
    """Sec. 3.2 of the paper with matrices (M, R)."""
    ious = box_iou(gt_boxes, pred_boxes)
    metric = pred_scores[:, gt_classes].T ** alpha * ious**beta
    chosen = torch.zeros_like(metric, dtype=torch.bool)
    chosen.scatter_(1, metric.topk(min(topk, len(anchors)), dim=1).indices, True)
    candidates = chosen & (metric > 0) & pairs_inside(gt_boxes, anchors)
    width, height = (gt_boxes[:, 2:] - gt_boxes[:, :2]).unbind(dim=1)
    smallness = -(width * height)[:, None].expand_as(ious)
    matched_idxs = winners(candidates, ious if conflict == "iou" else smallness)
    alignment = torch.zeros(len(anchors))
    for i in range(len(gt_boxes)):
        mine = matched_idxs == i
        if mine.any():
            t, u = metric[i, mine], ious[i, mine]
            alignment[mine] = t / (t.max() + 1e-7) * u.max()
    return matched_idxs, alignment


def dense_atss(levels, gt_boxes, topk):
    """Algorithm 1 of ATSS with matrices (M, R)."""
    anchors = torch.cat(levels)
    ious = box_iou(gt_boxes, anchors)
    distances = torch.cdist(centers(gt_boxes), centers(anchors))
    chosen = []
    for level in distances.split([len(x) for x in levels], dim=1):
        near = torch.zeros_like(level, dtype=torch.bool)
        nearest = level.topk(min(topk, level.shape[1]), dim=1, largest=False).indices
        chosen.append(near.scatter_(1, nearest, True))
    chosen = torch.cat(chosen, dim=1)
    candidate_ious = [row[mask] for row, mask in zip(ious, chosen, strict=True)]
    thresholds = [x.mean() + (x.std() if len(x) > 1 else 0) for x in candidate_ious]
    thresholds = torch.tensor(thresholds).reshape(-1, 1)
    return winners(chosen & (ious >= thresholds) & pairs_inside(gt_boxes, anchors), ious)


LEVELS = (192, 48, 12)
"""Numbers of the anchors of three levels."""


def dense_problem(num_boxes, num_classes=3):
    """Random boxes in a square of 128 px, R anchors and predictions near them."""
    num_anchors = sum(LEVELS)
    size = torch.repeat_interleave(torch.tensor([16.0, 32, 64]), torch.tensor(LEVELS))[:, None]
    middle = torch.rand(num_anchors, 2) * 128
    anchors = torch.cat((middle - size / 2, middle + size / 2), dim=1)
    pred_boxes = anchors + torch.randn(num_anchors, 4) * 2
    middle, size = torch.rand(num_boxes, 2) * 128, 8 + torch.rand(num_boxes, 2) * 56
    gt_boxes = torch.cat((middle - size / 2, middle + size / 2), dim=1)
    pred_scores = torch.rand(num_anchors, num_classes)
    return pred_scores, pred_boxes, anchors, gt_boxes, torch.arange(num_boxes) % num_classes


def assign_task_aligned(problem, **settings):
    pred_scores, pred_boxes, anchors, gt_boxes, gt_classes = problem
    return TaskAlignedAssigner(**settings)(
        pred_scores, Boxes(pred_boxes), Boxes(anchors), Boxes(gt_boxes), gt_classes
    )


@pytest.fixture(params=[1, 4, 1000], ids="blocks of {}".format)
def blocks(request, monkeypatch):
    """So many boxes are looked at together: of 7 boxes, the second block of 4 has 3."""
    monkeypatch.setattr(matching, "BLOCK_PAIRS", request.param * sum(LEVELS) + 1)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("num_boxes", [0, 1, 7, 300])
class TestDenseReference:
    @pytest.mark.parametrize("conflict", ["iou", "area"])
    def test_task_aligned(self, num_boxes, conflict):
        problem = dense_problem(num_boxes)
        settings = {"topk": 13, "alpha": 1.0, "beta": 6.0, "conflict": conflict}
        matched_idxs, alignment = assign_task_aligned(problem, **settings)
        expected_idxs, expected_alignment = dense_task_aligned(*problem, **settings)
        assert torch.equal(matched_idxs, expected_idxs)
        assert matched_idxs.unique().numel() > min(num_boxes, 50)
        torch.testing.assert_close(alignment, expected_alignment, rtol=1e-5, atol=1e-6)

    def test_atss(self, num_boxes):
        _, _, anchors, gt_boxes, _ = dense_problem(num_boxes)
        levels = anchors.split(LEVELS)
        matched_idxs = ATSSAssigner(9)([Boxes(x) for x in levels], Boxes(gt_boxes))
        assert torch.equal(matched_idxs, dense_atss(levels, gt_boxes, topk=9))

    def test_atss_of_valid_anchors(self, num_boxes):
        """Of the last levels only 5 and no anchors are valid."""
        _, _, anchors, gt_boxes, _ = dense_problem(num_boxes)
        levels = anchors.split(LEVELS)
        valid = torch.rand(len(anchors)) < 0.7
        valid[LEVELS[0] :] = False
        valid[LEVELS[0] : LEVELS[0] + 10 : 2] = True
        assigner = ATSSAssigner(9)
        matched_idxs = assigner([Boxes(x) for x in levels], Boxes(gt_boxes), valid)
        kept = [x[y] for x, y in zip(levels, valid.split(LEVELS), strict=True)]
        assert [len(x) for x in kept[1:]] == [5, 0]
        alone = assigner([Boxes(x) for x in kept], Boxes(gt_boxes))
        assert torch.equal(matched_idxs[valid], alone)
        assert torch.equal(alone, dense_atss(kept, gt_boxes, topk=9))
        assert (matched_idxs[~valid] == -1).all()


def test_results_are_not_overwritten_by_later_calls():
    """The memory of an assignment is not that of the next one."""
    first = dense_problem(7)
    _, _, anchors, gt_boxes, _ = first
    levels = [Boxes(x) for x in anchors.split(LEVELS)]
    results = [*assign_task_aligned(first), ATSSAssigner()(levels, Boxes(gt_boxes))]
    copies = [x.clone() for x in results]
    assign_task_aligned(dense_problem(7))
    ATSSAssigner()(levels, Boxes(gt_boxes.flip(0)))
    for result, copy in zip(results, copies, strict=True):
        assert torch.equal(result, copy)


def strictly_inside(anchors, gt_boxes):
    x, y = (anchors[:, :2] + anchors[:, 2:]).div(2).unbind(dim=1)
    x1, y1, x2, y2 = gt_boxes.unbind(dim=1)
    return (x1 < x) & (x < x2) & (y1 < y) & (y < y2)


@given(problems(), st.integers(1, 13), st.sampled_from(["iou", "area"]))
def test_task_aligned_assignment_of_random_boxes(problem, topk, conflict):
    pred_scores, pred_boxes, anchors, gt_boxes, gt_classes = problem
    matched_idxs, alignment = TaskAlignedAssigner(topk, conflict=conflict)(
        pred_scores, Boxes(pred_boxes), Boxes(anchors), Boxes(gt_boxes), gt_classes
    )
    assert matched_idxs.shape == alignment.shape == (len(anchors),)
    assert ((matched_idxs >= -1) & (matched_idxs < len(gt_boxes))).all()
    assert ((alignment >= 0) & (alignment <= 1 + 1e-6)).all()
    positive = matched_idxs >= 0
    assert (alignment[~positive] == 0).all()
    assert strictly_inside(anchors[positive], gt_boxes[matched_idxs[positive]]).all()
    for i in matched_idxs[positive].unique():
        mine = matched_idxs == i
        assert mine.sum() <= topk
        ious = box_iou(gt_boxes[i, None], pred_boxes[mine])[0]
        best_metric = (pred_scores[mine, gt_classes[i]] * ious**6).max()
        expected = ious.max() * best_metric / (best_metric + 1e-7)
        torch.testing.assert_close(alignment[mine].max(), expected, rtol=1e-4, atol=1e-6)


@given(problems(), st.integers(1, 9), st.integers(0, 12))
def test_atss_assignment_of_random_boxes(problem, topk, split):
    _, _, anchors, gt_boxes, _ = problem
    levels = [Boxes(anchors[:split]), Boxes(anchors[split:])]
    matched_idxs = ATSSAssigner(topk)(levels, Boxes(gt_boxes))
    assert matched_idxs.shape == (len(anchors),)
    assert ((matched_idxs >= -1) & (matched_idxs < len(gt_boxes))).all()
    positive = matched_idxs >= 0
    assert strictly_inside(anchors[positive], gt_boxes[matched_idxs[positive]]).all()
    for level in matched_idxs.split([len(x) for x in levels]):
        assert (level[level >= 0].bincount() <= topk).all()


class LargestTensor(TorchDispatchMode):
    """Sees all tensors that operations give; ``numel`` is that of the largest."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [x.numel() for x in tree_leaves(result) if isinstance(x, torch.Tensor)]
        self.numel = max(self.numel, *sizes, 0)
        return result


@pytest.mark.parametrize("kind", ["task_aligned", "atss"])
def test_no_tensor_has_all_pairs(kind, monkeypatch):
    """What 500 objects need is 500 candidates' data and blocks, not 500 x 1000 pairs."""
    monkeypatch.setattr(matching, "BLOCK_PAIRS", 4000)
    num_objects, num_anchors = 500, 1000
    corners = torch.rand(num_objects + num_anchors, 2, 2).mul(100).sort(dim=1).values.flatten(1)
    gt_boxes, anchors = (Boxes(x) for x in corners.split([num_objects, num_anchors]))
    with LargestTensor() as largest:
        if kind == "atss":
            ATSSAssigner()([anchors], gt_boxes)
        else:
            gt_classes = torch.zeros(num_objects, dtype=torch.int64)
            TaskAlignedAssigner()(
                torch.rand(num_anchors, 1), anchors, anchors, gt_boxes, gt_classes
            )
    # Four coordinates or sides of 13 candidates for each object, or four buffers.
    assert largest.numel <= num_objects * 13 * 4


def test_atss_with_equal_ious():
    # Every candidate's IoU is the mean, and the deviation is 0. The sum of three IoUs is rounded.
    steps = torch.arange(3) * 0.25 - 0.25
    anchors = torch.stack((steps, torch.zeros(3), steps + 64, torch.full((3,), 64.0)), dim=1)
    for side in torch.arange(7.0, 9.0, 0.1).tolist():
        gt = torch.tensor([[32 - side / 2, 32 - side / 2, 32 + side / 2, 32 + side / 2]])
        matched_idxs = ATSSAssigner(9)([Boxes(anchors)], Boxes(gt))
        assert matched_idxs.tolist() == [0, 0, 0], side
