"""What holds for every assignment, whatever the objects, anchors and predictions.

A problem has anchors and objects, and the settings of the assigners.
All corners are multiples of 1/16 px below 2^13, so that differences and centres are exact and
equal assignments are equal to the last bit.
"""

from functools import partial
from typing import NamedTuple
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_area, box_iou

from detectron2.structures import Boxes, Instances
from tood_d2.modeling import ATSSAssigner, TaskAlignedAssigner
from tood_d2.modeling.assigners import matching
from tood_d2.modeling.targets import image_targets

both_kinds = pytest.mark.parametrize("kind", ["atss", "task_aligned"])

seeds = st.integers(0, 2**32 - 1)
rules = st.tuples(st.integers(1, 13), st.sampled_from(["iou", "area"]))

FAR = 4096


class Problem(NamedTuple):
    pred_scores: Tensor
    """(R, K)"""
    pred_boxes: Tensor
    """(R, 4)"""
    anchors: Tensor
    """(R, 4)"""
    gt_boxes: Tensor
    """(M, 4)"""
    gt_classes: Tensor
    """(M,)"""
    level_sizes: list[int]
    """Numbers of the anchors of the levels."""
    topk: int
    conflict: str
    """Under task alignment: "iou" or "area"."""

    def of_objects(self, idxs):
        return self._replace(gt_boxes=self.gt_boxes[idxs], gt_classes=self.gt_classes[idxs])

    def of_anchors(self, idxs):
        """Of these anchors, without changing the sizes of the levels."""
        names = ("pred_scores", "pred_boxes", "anchors")
        return self._replace(**{name: getattr(self, name)[idxs] for name in names})

    def map_boxes(self, function):
        names = ("pred_boxes", "anchors", "gt_boxes")
        return self._replace(**{name: function(getattr(self, name)) for name in names})


def boxes_around(centers, sizes, unit):
    start = ((centers - sizes / 2) / unit).round()
    return torch.cat((start, start + (sizes / unit).round().clamp(min=1)), dim=1) * unit


@st.composite
def problems(draw, objects=(0, 6), anchors=(0, 20), levels=(1, 3), classes=(1, 4), unit=None):
    """Random problems in a square of 64 px.

    Args:
        objects, anchors, levels, classes: least and largest numbers; anchors of each level.
        unit: of the coordinates; None for 1/16, without many ties, or 4, with many.
    """
    num_objects, num_classes = draw(st.integers(*objects)), draw(st.integers(*classes))
    num_levels = draw(st.integers(*levels))
    unit = unit or draw(st.sampled_from([1 / 16, 4]))
    generator = torch.Generator().manual_seed(draw(seeds))
    least, most = anchors
    level_sizes = torch.randint(least, most + 1, (num_levels,), generator=generator).tolist()
    num_anchors = sum(level_sizes)
    rand = partial(torch.rand, generator=generator)

    gt_boxes = boxes_around(64 * rand(num_objects, 2), 4 + 44 * rand(num_objects, 2), unit)
    sizes = [8.0 * 2**level for level in range(len(level_sizes))]
    sizes = torch.tensor(sizes).repeat_interleave(torch.tensor(level_sizes))[:, None]
    centers = 64 * rand(num_anchors, 2)
    if num_objects:
        # Half of the anchors are near an object, and half of the predictions. Some are crossed.
        near = gt_boxes[torch.randint(num_objects, (num_anchors,), generator=generator)]
        close = centers_of(near) + 16 * (rand(num_anchors, 2) - 0.5)
        centers = torch.where(rand(num_anchors, 1) < 0.5, close, centers)
    anchor_boxes = boxes_around(centers, sizes.expand(-1, 2), unit)
    pred_boxes = anchor_boxes
    if num_objects:
        pred_boxes = torch.where(rand(num_anchors, 1) < 0.5, near, anchor_boxes)
    pred_boxes = pred_boxes + ((rand(num_anchors, 4) - 0.5) * 12 / unit).round() * unit
    # Some scores are 0 or 1.
    pred_scores = (1.2 * rand(num_anchors, num_classes) - 0.1).clamp(0, 1)
    gt_classes = torch.randint(num_classes, (num_objects,), generator=generator)
    return Problem(
        pred_scores, pred_boxes, anchor_boxes, gt_boxes, gt_classes, level_sizes, *draw(rules)
    )


def assign(kind, problem, valid=None):
    """Matches and metrics. Under ATSS the metric of positives is 1."""
    if kind == "atss":
        levels = [Boxes(x) for x in problem.anchors.split(problem.level_sizes)]
        matched_idxs = ATSSAssigner(problem.topk)(levels, Boxes(problem.gt_boxes), valid)
        return matched_idxs, (matched_idxs >= 0).float()
    boxes = (problem.pred_boxes, problem.anchors, problem.gt_boxes)
    return TaskAlignedAssigner(problem.topk, conflict=problem.conflict)(
        problem.pred_scores, *map(Boxes, boxes), problem.gt_classes
    )


def assert_same(actual, expected):
    for x, y in zip(actual, expected, strict=True):
        assert torch.equal(x, y)


def rename(matched_idxs, names):
    """The names of the matched objects; background stays background."""
    return F.pad(names, (0, 1), value=-1)[matched_idxs]


def shuffled(number, seed):
    return torch.randperm(number, generator=torch.Generator().manual_seed(seed))


def centers_of(boxes):
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def pairs_inside(problem):
    """(M, R), how far the anchors' centres are inside the objects, in pixels."""
    centers, boxes = centers_of(problem.anchors.double()), problem.gt_boxes.double()[:, None]
    return torch.cat((centers - boxes[..., :2], boxes[..., 2:] - centers), dim=-1).amin(dim=-1)


def anchor_ious(problem):
    return box_iou(problem.gt_boxes.double(), problem.anchors.double())


def pred_ious(problem):
    return box_iou(problem.gt_boxes.double(), problem.pred_boxes.double()).clamp(min=0)


def task_aligned_metric(problem):
    """(M, R), t of Eq. 9."""
    return problem.pred_scores.double().T[problem.gt_classes] * pred_ious(problem) ** 6


def number_better(values, level_sizes):
    """(M, R), how many of the values of the same object and level are larger."""
    levels = values.split(level_sizes, dim=1)
    return torch.cat([(x[:, None] > x[..., None]).sum(dim=2) for x in levels], dim=1)


def distances(problem):
    offsets = centers_of(problem.gt_boxes.double())[:, None] - centers_of(problem.anchors.double())
    return offsets.norm(dim=-1)


def atss_near(problem):
    """(M, R), the topk nearest anchors of each level."""
    return number_better(-distances(problem), problem.level_sizes) < problem.topk


def atss_thresholds(problem):
    """(M, 1), mean plus standard deviation of the candidates' IoU; nan without candidates."""
    thresholds = []
    ious = anchor_ious(problem)
    for values, near in zip(ious, atss_near(problem), strict=True):
        values = values[near]
        thresholds.append(values.mean() + (values.std() if len(values) > 1 else 0))
    return torch.tensor(thresholds, dtype=torch.float64)[:, None]


def apart(values):
    """Whether the positive values of each row differ by more than rounding."""
    values = values.sort(dim=-1).values
    return bool(((values.diff() > 1e-5 * values[..., 1:]) | (values[..., 1:] <= 0)).all())


def in_general_position(kind, problem):
    """Whether the assignment depends neither on an order nor on rounding."""
    if kind == "atss":
        ious = anchor_ious(problem)
        far_from_threshold = ((ious - atss_thresholds(problem)).abs() > 1e-5) | (ious == 0)
        # With a single candidate the threshold is its IoU.
        single = atss_near(problem).sum(dim=1, keepdim=True) <= 1
        levels = distances(problem).split(problem.level_sizes, dim=1)
        return bool((far_from_threshold | single).all()) and all(map(apart, [*levels, ious.T]))
    metric = task_aligned_metric(problem)
    areas = box_area(problem.gt_boxes.double())
    no_underflow = ((metric == 0) | (metric > 1e-30)).all()
    return bool(no_underflow) and all(map(apart, [metric, pred_ious(problem).T, areas]))


def assert_well_formed(kind, problem, result):
    matched_idxs, alignment = result
    num_anchors, num_objects = len(problem.anchors), len(problem.gt_boxes)
    assert matched_idxs.shape == alignment.shape == (num_anchors,)
    assert matched_idxs.dtype == torch.int64
    assert alignment.dtype == torch.float32
    assert ((matched_idxs >= -1) & (matched_idxs < num_objects)).all()
    assert ((alignment >= 0) & (alignment <= 1)).all()  # not nan, either
    positive = matched_idxs >= 0
    assert (alignment[~positive] == 0).all()
    inside = pairs_inside(problem)[matched_idxs[positive], positive]
    assert (inside > 0).all()
    groups = problem.level_sizes if kind == "atss" else [num_anchors]
    for group in matched_idxs.split(groups):
        assert (group[group >= 0].bincount() <= problem.topk).all()


# --- What has no influence ---


@st.composite
def similarities(draw):
    """Moves, mirrors, transposes and scales boxes without rounding."""
    shift = torch.tensor([draw(st.integers(-FAR, FAR)) for _ in "xy"]).repeat(2)
    # The 0.01 px do not scale, but no centre is nearer to a side than 1/32 px.
    scale = 2.0 ** draw(st.integers(-1, 12))
    mirror, transpose = draw(st.booleans()), draw(st.booleans())

    def transform(boxes):
        boxes = boxes + shift
        if mirror:
            x1, y1, x2, y2 = boxes.unbind(dim=1)
            boxes = torch.stack((-x2, y1, -x1, y2), dim=1)
        if transpose:
            boxes = boxes[:, [1, 0, 3, 2]]
        return boxes * scale

    return transform


@both_kinds
@given(problem=problems(), transform=similarities())
def test_moved_mirrored_and_scaled_images_are_assigned_alike(kind, problem, transform):
    transformed = assign(kind, problem.map_boxes(transform))
    assert_same(transformed, assign(kind, problem))


@both_kinds
@given(problem=problems(unit=1 / 16), seed=seeds)
def test_order_of_objects_has_no_influence(kind, problem, seed):
    assume(in_general_position(kind, problem))
    order = shuffled(len(problem.gt_boxes), seed)
    matched_idxs, alignment = assign(kind, problem.of_objects(order))
    assert_same((rename(matched_idxs, order), alignment), assign(kind, problem))


@both_kinds
@given(problem=problems(unit=1 / 16), seed=seeds)
def test_order_of_anchors_has_no_influence(kind, problem, seed):
    """Under ATSS that of the anchors of a level, and that of the levels."""
    assume(in_general_position(kind, problem))
    if kind == "atss":
        levels = torch.arange(len(problem.anchors)).split(problem.level_sizes)
        levels = [levels[i] for i in shuffled(len(levels), seed)]
        order = torch.cat([x[shuffled(len(x), seed)] for x in levels])
        permuted = problem.of_anchors(order)._replace(level_sizes=list(map(len, levels)))
    else:
        order = shuffled(len(problem.anchors), seed)
        permuted = problem.of_anchors(order)
    expected = [x[order] for x in assign(kind, problem)]
    assert_same(assign(kind, permuted), expected)


@both_kinds
@given(problem=problems(), rows=st.integers(1, 5), spare=st.integers(0, 7))
def test_block_size_has_no_influence(kind, problem, rows, spare):
    """Blocks of one to five of six objects, or less than one."""
    expected = assign(kind, problem)
    for pairs in (rows * len(problem.anchors) + spare, 0):
        with mock.patch.object(matching, "BLOCK_PAIRS", pairs):
            assert_same(assign(kind, problem), expected)


@given(problem=problems(), seed=seeds)
def test_names_of_the_classes_have_no_influence(problem, seed):
    """Nor have they an order, nor matter scores for the classes of no object."""
    num_classes = problem.pred_scores.shape[1]
    names = shuffled(num_classes + 1, seed)
    scores = torch.rand(len(problem.anchors), num_classes + 1)
    present = problem.gt_classes.unique()
    scores[:, names[present]] = problem.pred_scores[:, present]
    renamed = problem._replace(pred_scores=scores, gt_classes=names[problem.gt_classes])
    assert_same(assign("task_aligned", renamed), assign("task_aligned", problem))


@given(
    problem=problems(objects=(1, 6), anchors=(1, 20)),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float64]),
)
def test_only_the_rounding_of_the_scores_matters(problem, dtype):
    """Only the rounding of the scores matters, not the type that they then have."""
    scores = problem.pred_scores.to(dtype)
    result = assign("task_aligned", problem._replace(pred_scores=scores))
    expected = assign("task_aligned", problem._replace(pred_scores=scores.float()))
    assert_same(result, expected)
    assert_well_formed("task_aligned", problem, result)


@given(problem=problems(unit=1 / 16), seed=seeds)
def test_atss_ignores_invalid_anchors(problem, seed):
    """The others are matched as if there were no invalid ones."""
    valid = torch.rand(len(problem.anchors), generator=torch.Generator().manual_seed(seed)) < 0.7
    kept = problem.of_anchors(valid)
    level_sizes = [int(x.sum()) for x in valid.split(problem.level_sizes)]
    kept = kept._replace(level_sizes=level_sizes)
    assume(in_general_position("atss", kept))
    matched_idxs, _ = assign("atss", problem, valid)
    assert (matched_idxs[~valid] == -1).all()
    assert torch.equal(matched_idxs[valid], assign("atss", kept)[0])


# --- Several objects ---


@both_kinds
@given(problem=problems(), seed=seeds)
def test_first_of_equal_objects_gets_the_anchors(kind, problem, seed):
    """Of equal ones, the first gets what a single one would get."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, 4, (len(problem.gt_boxes),), generator=generator)
    copies = torch.arange(len(counts)).repeat_interleave(counts)
    first = counts.cumsum(dim=0) - counts
    matched_idxs, alignment = assign(kind, problem)
    expected = (rename(matched_idxs, first), alignment)
    assert_same(assign(kind, problem.of_objects(copies)), expected)


@both_kinds
@given(problem=problems(objects=(1, 1)), other_class=st.integers(0, 3))
def test_second_class_of_a_box_gets_what_the_first_leaves(kind, problem, other_class):
    """The second gets what it would get alone and the first would not."""
    other_class %= problem.pred_scores.shape[1]
    classes = torch.tensor([problem.gt_classes.item(), other_class])
    both = problem._replace(gt_boxes=problem.gt_boxes.repeat(2, 1), gt_classes=classes)
    first, second = (assign(kind, both.of_objects([i]))[0] == 0 for i in range(2))
    expected = torch.where(first, 0, torch.where(second, 1, -1))
    assert torch.equal(assign(kind, both)[0], expected)


@both_kinds
@given(problem=problems(unit=1 / 16))
def test_conflicts_are_won_by_the_object_with_priority(kind, problem):
    """An object loses only what another one would get, too, and has priority for.

    The normalised metric counts what each object has in the end.
    """
    assume(in_general_position(kind, problem))
    matched_idxs, alignment = assign(kind, problem)
    if kind == "atss":
        priority = anchor_ious(problem)
    elif problem.conflict == "iou":
        priority = pred_ious(problem)
    else:
        areas = box_area(problem.gt_boxes.double())[:, None]
        priority = -areas.expand(-1, len(problem.anchors))
    single = [problem.of_objects([i]) for i in range(len(problem.gt_boxes))]
    wanted = [(assign(kind, x)[0] == 0).tolist() for x in single]
    for r, (actual, *priorities) in enumerate(
        zip(matched_idxs.tolist(), *priority.tolist(), strict=True)
    ):
        rivals = [i for i in range(len(single)) if wanted[i][r]]
        assert actual == max(rivals, key=priorities.__getitem__, default=-1)
    if kind == "task_aligned":
        metric = task_aligned_metric(problem)
        for i in matched_idxs[matched_idxs >= 0].unique():
            t, u = metric[i, matched_idxs == i], pred_ious(problem)[i, matched_idxs == i]
            expected = t / (t.max() + 1e-7) * u.max()
            actual = alignment[matched_idxs == i].double()
            torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-7)


@both_kinds
@given(problem=problems(), other=problems(objects=(1, 1)), where=st.integers(0, 6))
def test_object_far_from_all_anchors_gets_nothing(kind, problem, other, where):
    """It gets nothing and takes nothing, wherever it is in the list."""
    where = min(where, len(problem.gt_boxes))
    boxes, classes = problem.gt_boxes, problem.gt_classes
    more = problem._replace(
        gt_boxes=torch.cat((boxes[:where], other.gt_boxes + FAR, boxes[where:])),
        gt_classes=torch.cat((classes[:where], torch.tensor([0]), classes[where:])),
    )
    others = torch.arange(len(boxes) + 1)
    others = others[others != where]
    matched_idxs, alignment = assign(kind, problem)
    assert_same(assign(kind, more), (rename(matched_idxs, others), alignment))


small_scenes = problems(anchors=(1, 12), levels=(2, 2), classes=(3, 3), unit=1 / 16)


@both_kinds
@given(left=small_scenes, right=small_scenes)
def test_distant_scenes_are_assigned_as_if_alone(kind, left, right):
    """Far from each other, they are assigned as if they were alone."""
    topk = left.topk
    if kind == "atss":  # else there are far anchors among the nearest of a level
        topk = min(topk, *left.level_sizes, *right.level_sizes)
    left, right = (x._replace(topk=topk, conflict=left.conflict) for x in (left, right))
    assume(all(in_general_position(kind, scene) for scene in (left, right)))
    right = right.map_boxes(lambda boxes: boxes + FAR)

    def by_level(x, y):
        levels = zip(x.split(left.level_sizes), y.split(right.level_sizes), strict=True)
        return torch.cat([part for level in levels for part in level])

    tensors = [by_level(x, y) for x, y in zip(left[:3], right[:3], strict=True)]
    objects = [torch.cat(pair) for pair in zip(left[3:5], right[3:5], strict=True)]
    level_sizes = [sum(pair) for pair in zip(left.level_sizes, right.level_sizes, strict=True)]
    together = assign(kind, Problem(*tensors, *objects, level_sizes, topk, left.conflict))

    left_idxs, left_alignment = assign(kind, left)
    right_idxs, right_alignment = assign(kind, right)
    right_idxs = rename(right_idxs, torch.arange(len(right.gt_boxes)) + len(left.gt_boxes))
    expected = by_level(left_idxs, right_idxs), by_level(left_alignment, right_alignment)
    assert_same(together, expected)


# --- One object ---


@given(problem=problems(objects=(1, 1), unit=1 / 16))
def test_task_aligned_positives_have_the_largest_metrics_inside(problem):
    """Those inside with t > 0 for which less than topk anchors, anywhere, have a larger t."""
    assume(in_general_position("task_aligned", problem))
    (metric,), (inside,) = task_aligned_metric(problem), pairs_inside(problem)
    larger = (metric > metric[:, None]).sum(dim=1)
    expected = (larger < problem.topk) & (metric > 0) & (inside > 0.01)
    matched_idxs, _ = assign("task_aligned", problem)
    assert torch.equal(matched_idxs == 0, expected)


@given(problem=problems(objects=(1, 1), unit=1 / 16))
def test_atss_positives_are_near_and_reach_the_threshold(problem):
    """Those near and inside that reach the threshold: less than half, unless there is one."""
    assume(in_general_position("atss", problem))
    near, inside = atss_near(problem), pairs_inside(problem) > 0.01
    ious = anchor_ious(problem)
    number = int(near.sum())
    reach = ious >= atss_thresholds(problem) - 1e-9
    matched_idxs, _ = assign("atss", problem)
    assert torch.equal(matched_idxs == 0, (near & inside & reach)[0])
    if number > 1:
        # Cantelli: at most a share of 1 / (1 + c^2) is c standard deviations above the mean, and
        # the unbiased deviation is c = sqrt(n / (n - 1)) true ones.
        assert (matched_idxs == 0).sum() <= number * (number - 1) / (2 * number - 1)


@given(problem=problems(unit=1 / 16))
def test_more_candidates_keep_all_positives(problem):
    """Task alignment has a positive anchor remain one and adds at most one for each object."""
    assume(in_general_position("task_aligned", problem))
    larger = problem._replace(topk=problem.topk + 1)
    fewer, more = (assign("task_aligned", x)[0] >= 0 for x in (problem, larger))
    assert (more | ~fewer).all()
    assert more.sum() <= fewer.sum() + len(problem.gt_boxes)


@both_kinds
@given(distance=st.floats(-0.02, 0.03), side=st.integers(0, 3))
def test_centers_count_as_inside_from_a_hundredth_pixel_on(kind, distance, side):
    """The prediction is perfect, the anchor's centre so far inside from that side."""
    assume(abs(distance - 0.01) > 1e-5)
    center = torch.tensor([4.0, 4.0])
    center[side % 2] = distance if side < 2 else 8 - distance
    gt_boxes = torch.tensor([[0.0, 0, 8, 8]])
    anchors = torch.cat((center - 4, center + 4))[None]
    problem = Problem(
        pred_scores=torch.ones(1, 1),
        pred_boxes=gt_boxes,
        anchors=anchors,
        gt_boxes=gt_boxes,
        gt_classes=torch.tensor([0]),
        level_sizes=[1],
        topk=9,
        conflict="iou",
    )
    matched_idxs, alignment = assign(kind, problem)
    assert matched_idxs.item() == (0 if distance > 0.01 else -1)
    assert alignment.item() == pytest.approx(float(distance > 0.01))


# --- Extremes ---


def assert_targets_fit(problem, matched_idxs, alignment):
    """An anchor has class and box of its object or none."""
    gt = Instances((64, 64), gt_boxes=Boxes(problem.gt_boxes), gt_classes=problem.gt_classes)
    valid = torch.ones_like(matched_idxs, dtype=torch.bool)
    num_classes = problem.pred_scores.shape[1]
    targets = image_targets(matched_idxs, alignment, valid, gt, num_classes)
    for r, i in enumerate(matched_idxs.tolist()):
        label, box = num_classes, [0] * 4
        if i >= 0:
            label, box = problem.gt_classes[i].item(), problem.gt_boxes[i].tolist()
        assert (targets.labels[r].item(), targets.boxes[r].tolist()) == (label, box)
    assert torch.equal(targets.positive, matched_idxs >= 0)
    assert torch.equal(targets.alignment, alignment)
    unmatched = set(range(len(problem.gt_boxes))) - set(matched_idxs.tolist())
    assert targets.num_unmatched.sum().item() == len(unmatched)
    assert targets.num_objects.sum().item() == len(problem.gt_boxes)


STARTS = torch.tensor([0, 1e-6, 0.3, 63.99, 64, 1333, -1, -1e4, 1e6])
SIDES = torch.tensor([0, 1e-30, 1e-6, 0.01, 0.03, 1, 8, 64, 1333, 1e6, 1e15, 1e25])
COORDINATES = torch.tensor(
    [0, 1e-6, 1, 64, 64.5, 1333, 1e6, 1e25, -1, -1e4, torch.inf, -torch.inf, torch.nan]
)
SCORES = torch.tensor([0, 1e-45, 1e-8, 0.5, 1])


@st.composite
def extreme_problems(draw):
    """Objects and anchors of any size, some empty; predictions of any four numbers."""
    num_objects, num_classes = draw(st.integers(0, 6)), draw(st.integers(1, 4))
    level_sizes = draw(st.lists(st.sampled_from([0, 1, 2, 20]), min_size=1, max_size=3))
    num_anchors = sum(level_sizes)
    generator = torch.Generator().manual_seed(draw(seeds))

    def choose(values, *shape):
        return values[torch.randint(len(values), shape, generator=generator)]

    def boxes(number):
        start = choose(STARTS, number, 2)
        return torch.cat((start, start + choose(SIDES, number, 2)), dim=1)

    gt_boxes, anchors = boxes(num_objects), boxes(num_anchors)
    pred_boxes = choose(COORDINATES, num_anchors, 4)
    if num_objects:
        hits = torch.rand(2, num_anchors, 1, generator=generator) < 0.6
        objects = choose(gt_boxes, num_anchors)
        anchors, pred_boxes = (
            torch.where(hit, objects, other)
            for hit, other in zip(hits, (anchors, pred_boxes), strict=True)
        )
    classes = choose(torch.arange(num_classes), num_objects)
    scores = choose(SCORES, num_anchors, num_classes)
    return Problem(scores, pred_boxes, anchors, gt_boxes, classes, level_sizes, *draw(rules))


@both_kinds
@given(problem=st.one_of(problems(), extreme_problems()))
def test_assignments_are_well_formed(kind, problem):
    result = assign(kind, problem)
    assert_well_formed(kind, problem, result)
    assert_targets_fit(problem, *result)
    if kind != "atss":  # A prediction that is no box matches nothing, nor one with a score of 0.
        positive = result[0] >= 0
        pred_boxes = problem.pred_boxes[positive]
        assert pred_boxes.isfinite().all()
        assert (pred_boxes[:, :2] < pred_boxes[:, 2:]).all()
        classes = problem.gt_classes[result[0][positive]]
        assert (problem.pred_scores[positive, classes] > 0).all()
