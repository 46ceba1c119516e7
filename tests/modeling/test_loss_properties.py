"""What holds for the losses and scores of all elements and boxes."""

from functools import partial

import numpy as np
import pytest
import torch
from fvcore.nn import sigmoid_focal_loss
from hypothesis import assume, given
from hypothesis import strategies as st

from detectron2.structures import Boxes, Instances
from tood_d2.modeling.losses import aligned_logits, centerness, giou_loss, task_aligned_focal_loss
from tood_d2.modeling.targets import image_targets, stack_targets, target_centerness

seeds = st.integers(0, 2**32 - 1)
numbers = st.integers(0, 8)
gammas = st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0])

LOGITS = torch.tensor([0, -0.0, 1e-30, 17, -17, 88.8, -88.8, 104, -104, 1e4, -1e4])
TARGETS = torch.tensor([0, 1e-45, 1e-20, 0.5, 1 - 2**-24, 1])


def generator_of(seed):
    return torch.Generator().manual_seed(seed)


def choose(values, *shape, generator):
    return values[torch.randint(len(values), shape, generator=generator)]


def random_logits(number, limit, generator):
    """A third of them from the list."""
    logits = (2 * torch.rand(number, generator=generator) - 1) * limit
    listed = choose(LOGITS.clamp(-limit, limit), number, generator=generator)
    return torch.where(torch.rand(number, generator=generator) < 1 / 3, listed, logits)


def random_targets(number, generator):
    """A third of them from the list."""
    listed = choose(TARGETS, number, generator=generator)
    targets = torch.rand(number, generator=generator)
    return torch.where(torch.rand(number, generator=generator) < 1 / 3, listed, targets)


@st.composite
def elements(draw, limit=1e4):
    """Up to eight logits in [-limit, limit] and targets."""
    number, generator = draw(numbers), generator_of(draw(seeds))
    limit = draw(st.sampled_from([min(limit, 10.0), limit]))
    return random_logits(number, limit, generator), random_targets(number, generator)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def float64(*tensors):
    return [x.numpy().astype("float64") for x in tensors]


def cross_entropy(p, y):
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


def value_and_grad(function, *inputs):
    inputs = [x.clone().requires_grad_() for x in inputs]
    value = function(*inputs)
    return value.detach(), *torch.autograd.grad(value.sum(), inputs)


class TestTaskAlignedFocalLoss:
    @given(elements(limit=15), gammas)
    def test_eq_11_and_its_derivative(self, pair, gamma):
        z, y = float64(*pair)
        p = sigmoid(z)
        error, entropy = np.abs(y - p), cross_entropy(p, y)
        loss, grad = value_and_grad(lambda x: task_aligned_focal_loss(x, pair[1], gamma), pair[0])
        assert loss.item() == pytest.approx((error**gamma * entropy).sum(), rel=1e-4, abs=1e-5)
        # dp/dz = p (1 - p); dBCE/dz = p - y
        expected = error**gamma * (p - y)
        if gamma > 0:
            slope = gamma * error ** (gamma - 1) * np.sign(p - y)
            expected += slope * p * (1 - p) * entropy
        # With gamma = 1 the slope jumps where p = y.
        smooth = (error > 1e-5) | (gamma != 1)
        np.testing.assert_allclose(grad.numpy()[smooth], expected[smooth], rtol=1e-3, atol=1e-5)

    @given(elements(), gammas)
    def test_loss_and_gradient_are_finite(self, pair, gamma):
        logits, targets = pair
        loss, grad = value_and_grad(
            lambda x: task_aligned_focal_loss(x, targets, gamma).reshape(1), logits
        )
        assert 0 <= loss.item() <= len(logits) * (1e4 + 1)
        assert grad.isfinite().all()
        # |y - p| <= 1 and BCE <= log(1 + e^|z|), which times p (1 - p) is below 0.26.
        assert (grad.abs() <= 1 + 0.26 * gamma + 1e-5).all()
        # More score where there is too little. Else the gradient has the sign of the error.
        error = logits.sigmoid() - targets
        assert (grad * error >= 0).all()

    @given(elements(), gammas)
    def test_loss_is_least_where_scores_are_the_targets(self, pair, gamma):
        """0 if all p = y; otherwise by Pinsker's inequality BCE >= 2 (y - p)^2."""
        logits, targets = pair
        error = (logits.double().sigmoid() - targets).abs()
        bound = 2 * (error ** (gamma + 2)).sum().item()
        assert task_aligned_focal_loss(logits, targets, gamma).item() >= bound * (1 - 1e-4) - 1e-6
        if gamma > 0:
            loss, grad = value_and_grad(
                lambda x: task_aligned_focal_loss(x, logits.sigmoid(), gamma), logits
            )
            assert loss.item() == 0
            if gamma > 1:
                assert (grad == 0).all()

    @given(elements(limit=15), gammas, st.floats(0, 3), st.floats(0.1, 3))
    def test_grows_with_the_error(self, pair, gamma, near, step):
        targets = pair[1].clamp(0.02, 0.98)
        for direction in (-1, 1):
            losses = [
                task_aligned_focal_loss(targets.logit() + direction * distance, targets, gamma)
                for distance in (near, near + step)
            ]
            assert losses[0] < losses[1] or len(targets) == 0

    @given(elements(), gammas)
    def test_complements_cost_the_same(self, pair, gamma):
        """To find an object and to find none is the same problem with other signs."""
        logits, targets = pair
        targets = (targets * 64).round() / 64  # 1 - y is exact
        actual = task_aligned_focal_loss(-logits, 1 - targets, gamma)
        expected = task_aligned_focal_loss(logits, targets, gamma)
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)

    @given(elements(), st.sampled_from([0.0, 1.0, 1.5, 2.0]))
    def test_hard_targets_make_it_focal_loss(self, pair, gamma):
        logits, targets = pair
        targets = targets.round()
        actual = task_aligned_focal_loss(logits, targets, gamma)
        expected = sigmoid_focal_loss(logits, targets, alpha=-1, gamma=gamma, reduction="sum")
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)

    @given(elements(), elements(), gammas, seeds)
    def test_loss_is_the_sum_over_elements(self, first, second, gamma, seed):
        """Over all elements, in any order and shape."""
        parts = [task_aligned_focal_loss(*x, gamma).item() for x in (first, second)]
        pair = [torch.cat(x) for x in zip(first, second, strict=True)]
        order = torch.randperm(len(pair[0]), generator=generator_of(seed))
        whole = task_aligned_focal_loss(*(x[order].reshape(1, -1, 1) for x in pair), gamma)
        assert whole.shape == ()
        assert whole.item() == pytest.approx(sum(parts), rel=1e-5, abs=1e-6)
        nothing, grad = value_and_grad(
            lambda x: task_aligned_focal_loss(x, torch.zeros(0, 3), gamma), torch.zeros(0, 3)
        )
        assert (nothing.item(), grad.shape) == (0, (0, 3))

    @given(elements(), gammas, st.sampled_from([torch.float16, torch.bfloat16]))
    def test_half_precision_is_computed_in_float32(self, pair, gamma, dtype):
        logits = pair[0].to(dtype)
        loss = task_aligned_focal_loss(logits, pair[1], gamma)
        assert loss.dtype == torch.float32
        assert torch.equal(loss, task_aligned_focal_loss(logits.float(), pair[1], gamma))


@st.composite
def logit_pairs(draw, limit=1e4):
    """Up to eight pairs of logits in [-limit, limit]; targets for them."""
    number, generator = draw(numbers), generator_of(draw(seeds))
    limit = draw(st.sampled_from([min(limit, 10.0), limit]))
    a, b = (random_logits(number, limit, generator) for _ in range(2))
    return a, b, random_targets(number, generator)


class TestAlignedLogits:
    @given(logit_pairs(limit=500))
    def test_eq_7(self, problem):
        """log p is the mean of the logarithms, and 1 - p is -expm1(log p)."""
        a, b = float64(*problem[:2])
        log_p = -(np.log1p(np.exp(-a)) + np.log1p(np.exp(-b))) / 2
        with np.errstate(divide="ignore"):
            expected = log_p - np.log(-np.expm1(log_p))
        actual = aligned_logits(*problem[:2]).numpy()
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)

    @given(logit_pairs())
    def test_lies_between_the_two_logits(self, problem):
        """Between the two, the same in both orders; of equal ones it is that one."""
        a, b, _ = problem
        z, rounding = aligned_logits(a, b), 1e-6 * (1 + a.abs() + b.abs())
        assert (z >= torch.minimum(a, b) - rounding).all()
        assert (z <= torch.maximum(a, b) + rounding).all()
        assert ((z - aligned_logits(b, a)).abs() <= rounding).all()
        assert ((a - aligned_logits(a, a)).abs() <= rounding).all()

    @given(logit_pairs(), st.floats(0, 100))
    def test_grows_with_both(self, problem, step):
        a, b, _ = problem
        z, more = aligned_logits(a, b), aligned_logits(a + step, b)
        rounding = 1e-6 * (1 + a.abs() + b.abs() + step)
        assert (more >= z - rounding).all()
        assert (more <= z + step + rounding).all()

    @given(logit_pairs())
    def test_loss_of_aligned_scores_is_finite(self, problem):
        a, b, targets = problem
        loss, *grads = value_and_grad(
            lambda *x: task_aligned_focal_loss(aligned_logits(*x), targets), a, b
        )
        assert 0 <= loss.item() < torch.inf
        # At most the loss's, 1 + 0.26 * 2, times dz/da <= 1
        assert all((grad.abs() <= 1.52 + 1e-5).all() for grad in grads)

    @given(logit_pairs(limit=12))
    def test_loss_of_aligned_scores(self, problem):
        """Eq. 11 of the score of Eq. 7, and its derivative, as they are written."""
        *logits, targets = problem

        def naive(a, b):
            p = (a.sigmoid() * b.sigmoid()).sqrt()
            y = targets.double()
            entropy = -(y * p.log() + (1 - y) * (1 - p).log())
            return ((y - p).abs() ** 2 * entropy).sum()

        actual = value_and_grad(
            lambda *x: task_aligned_focal_loss(aligned_logits(*x), targets), *logits
        )
        expected = value_and_grad(naive, *(x.double() for x in logits))
        for x, y in zip(actual, expected, strict=True):
            torch.testing.assert_close(x.double(), y, rtol=1e-3, atol=1e-5)


# --- Boxes ---


@st.composite
def box_pairs(draw):
    """One to six pairs of boxes with corners that are multiples of 1/16, at least 2 px wide.

    All differences and areas are exact and 1e-7 is less than their last bit.
    """
    number, generator = draw(st.integers(1, 6)), generator_of(draw(seeds))
    spread = draw(st.sampled_from([8, 64]))

    def boxes():
        start = torch.randint(16 * spread, (number, 2), generator=generator)
        size = torch.randint(32, 16 * 40, (number, 2), generator=generator)
        return torch.cat((start, start + size), dim=1) / 16

    return boxes(), boxes()


def areas(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


@st.composite
def similarities(draw):
    """Moves, mirrors, transposes and scales boxes, (..., 4), and points, (..., 2), exactly."""
    shift = torch.tensor([draw(st.integers(-1024, 1024)) for _ in "xy"])
    scale = 2.0 ** draw(st.integers(0, 8))
    mirror, transpose = draw(st.booleans()), draw(st.booleans())

    def transform(corners):
        points = (corners.unflatten(-1, (-1, 2)) + shift) * scale
        if mirror:
            points = points * torch.tensor([-1, 1])
        if transpose:
            points = points.flip(-1)
        if points.shape[-2] == 1:
            return points.flatten(-2)
        return torch.cat((points.amin(dim=-2), points.amax(dim=-2)), dim=-1)

    return transform


COORDINATES = torch.tensor([0, 1e-20, 1e-6, 1e-3, 1, 8, 64, 64.5, 1333, 1e6, -1, -1e6])


class TestGiouLoss:
    @given(box_pairs())
    def test_loss_is_from_0_to_2(self, pair):
        """0 for equal boxes only, less than 2, at least 1 without an overlap."""
        loss = giou_loss(*pair)
        equal = (pair[0] == pair[1]).all(dim=1)
        assert ((loss >= 0) & (loss < 2)).all()
        assert torch.equal(loss == 0, equal)
        assert (giou_loss(pair[0], pair[0]) == 0).all()
        overlap = torch.minimum(pair[0], pair[1])[:, 2:] - torch.maximum(pair[0], pair[1])[:, :2]
        assert (loss[(overlap <= 0).any(dim=1)] >= 1).all()

    @given(seeds)
    def test_counting_cells(self, seed):
        """Areas are numbers of cells of a grid."""
        corners = torch.randint(13, (2, 2, 2), generator=generator_of(seed)).sort(dim=1).values
        boxes = corners.flatten(1)
        assume((areas(boxes) > 0).all())
        first, second, hull = (np.zeros((12, 12), dtype=bool) for _ in range(3))
        for mask, (x1, y1, x2, y2) in zip((first, second), boxes.tolist(), strict=True):
            mask[y1:y2, x1:x2] = True
        rows, columns = np.nonzero(first | second)
        hull[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        union = (first | second).sum()
        expected = 1 - (first & second).sum() / union + (hull.sum() - union) / hull.sum()
        assert giou_loss(*boxes.float()).item() == pytest.approx(expected, abs=1e-6)

    @given(box_pairs(), similarities(), seeds)
    def test_order_place_and_size_have_no_influence(self, pair, transform, seed):
        """Which box is the first, where and how large they are, and the other pairs."""
        loss = giou_loss(*pair)
        assert torch.equal(giou_loss(*reversed(pair)), loss)
        assert torch.equal(giou_loss(*map(transform, pair)), loss)
        order = torch.randperm(len(loss), generator=generator_of(seed))
        assert torch.equal(giou_loss(*(x[order][None] for x in pair)), loss[order][None])

    @given(box_pairs(), st.integers(1, 1000), st.integers(1, 1000))
    def test_grows_with_the_distance(self, pair, near, step):
        """Of a box from where it was, in any direction: the overlap shrinks, the hull grows."""
        box = pair[0]
        for direction in (torch.tensor([1.0, 0, 1, 0]), torch.tensor([1.0, -1, 1, -1])):
            losses = [giou_loss(box, box + direction * x / 16) for x in (0, near, near + step)]
            assert (losses[0] < losses[1]).all()
            assert (losses[1] < losses[2]).all()

    @given(box_pairs(), st.floats(0.01, 0.99))
    def test_one_inside_the_other(self, pair, share):
        """The hull is the larger box: 1 - IoU, a quotient of areas."""
        outer = pair[0]
        inner = outer.clone()
        inner[:, 2] = outer[:, 0] + share * (outer[:, 2] - outer[:, 0])
        torch.testing.assert_close(giou_loss(inner, outer), 1 - areas(inner) / areas(outer))

    @given(box_pairs())
    def test_directions_without_effect(self, pair):
        """The derivative along moves and scalings of both boxes is 0."""
        _, *grads = value_and_grad(giou_loss, *pair)
        assert any((grad != 0).any() for grad in grads) or torch.equal(*pair)
        points = torch.cat([x.reshape(-1, 2, 2) for x in pair], dim=1)
        slopes = torch.cat([x.reshape(-1, 2, 2) for x in grads], dim=1)
        zero = torch.zeros(len(points), 2)
        torch.testing.assert_close(slopes.sum(dim=1), zero, rtol=0, atol=1e-5)
        torch.testing.assert_close((points * slopes).sum(dim=1), zero, rtol=0, atol=1e-4)

    @given(seeds, numbers, st.booleans())
    def test_any_predictions_have_finite_losses(self, seed, number, crossed):
        """Any predictions, crossed ones, too, against any boxes."""
        corners = choose(COORDINATES, 2, number, 2, 2, generator=generator_of(seed))
        ordered = corners.sort(dim=2).values
        pred_boxes = (corners if crossed else ordered)[0].flatten(1)
        loss, *grads = value_and_grad(giou_loss, pred_boxes, ordered[1].flatten(1))
        assert loss.shape == (number,)
        assert ((loss >= -1e-6) & (loss <= 2 + 1e-6)).all()
        assert all(grad.isfinite().all() for grad in grads)


@st.composite
def points_in_boxes(draw):
    boxes, _ = draw(box_pairs())
    generator = generator_of(draw(seeds))
    # More than 1/16 px inside.
    sizes = 16 * (boxes[:, 2:] - boxes[:, :2]) - 2
    offsets = 1 + (torch.rand(len(boxes), 2, generator=generator) * sizes).round()
    return boxes[:, :2] + offsets / 16, boxes


class TestCenterness:
    @given(points_in_boxes())
    def test_eq_3_of_fcos(self, problem):
        actual = centerness(*problem)
        assert ((actual > 0) & (actual <= 1)).all()
        for value, (x, y), (x1, y1, x2, y2) in zip(
            actual.tolist(), *(x.tolist() for x in problem), strict=True
        ):
            horizontal = min(x - x1, x2 - x) / max(x - x1, x2 - x)
            vertical = min(y - y1, y2 - y) / max(y - y1, y2 - y)
            assert value == pytest.approx((horizontal * vertical) ** 0.5, rel=1e-5)
            assert (value == 1) == ((x, y) == ((x1 + x2) / 2, (y1 + y2) / 2))

    @given(points_in_boxes(), similarities())
    def test_place_and_size_have_no_influence(self, problem, transform):
        assert torch.equal(centerness(*map(transform, problem)), centerness(*problem))

    @given(points_in_boxes(), st.floats(0.1, 0.9))
    def test_grows_towards_the_center(self, problem, share):
        points, boxes = problem
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        nearer = centerness(points + share * (middle - points), boxes)
        assert torch.equal(nearer > centerness(points, boxes), (points != middle).any(dim=1))


# --- The losses of a batch ---

NUM_CLASSES = 3


@pytest.fixture(scope="module")
def model(tiny_tood):
    return tiny_tood(strides=(8,), num_classes=NUM_CLASSES)


@st.composite
def batches(draw, limit=1e4):
    """Anchors and, for one to three images, logits, boxes and targets.

    All objects contain the centres of all anchors.
    """
    num_images, num_anchors = draw(st.integers(1, 3)), draw(st.integers(1, 8))
    generator = generator_of(draw(seeds))
    rand = partial(torch.rand, generator=generator)
    centers = 28 + 8 * rand(num_anchors, 2)
    anchors = Boxes(torch.cat((centers - 32, centers + 32), dim=1))
    targets = []
    for num_objects in torch.randint(4, (num_images,), generator=generator).tolist():
        gt_boxes = torch.cat((27 * rand(num_objects, 2), 37 + 27 * rand(num_objects, 2)), dim=1)
        gt_classes = torch.randint(NUM_CLASSES, (num_objects,), generator=generator)
        gt = Instances((64, 64), gt_boxes=Boxes(gt_boxes), gt_classes=gt_classes)
        matched_idxs = torch.randint(-1, num_objects, (num_anchors,), generator=generator)
        alignment = torch.where(matched_idxs >= 0, rand(num_anchors), 0)
        valid = torch.ones(num_anchors, dtype=torch.bool)
        targets.append(image_targets(matched_idxs, alignment, valid, gt, NUM_CLASSES))
    logits = random_logits(num_images * num_anchors * NUM_CLASSES, limit, generator)
    corners = (rand(num_images, num_anchors, 2, 2) * 64).sort(dim=2).values
    shape = (num_images, num_anchors, NUM_CLASSES)
    return [anchors], logits.view(shape), corners.flatten(2), stack_targets(targets)


def as_floats(losses):
    return pytest.approx([x.item() for x in losses.values()], rel=1e-4, abs=1e-5)


class TestLossesOfABatch:
    @given(batch=batches(limit=10))
    def test_eq_11_and_12(self, model, batch):
        _, logits, boxes, targets = batch
        losses = model.losses(*batch, initial_phase=False)
        loss_cls = loss_box = total = 0.0
        for i, r in np.ndindex(*targets.labels.shape):
            label, alignment = targets.labels[i, r].item(), targets.alignment[i, r].item()
            p = sigmoid(logits[i, r].numpy().astype("float64"))
            y = alignment * (np.arange(NUM_CLASSES) == label)
            loss_cls += (np.abs(y - p) ** 2 * cross_entropy(p, y)).sum()
            loss_box += 2 * alignment * giou_loss(boxes[i, r], targets.boxes[i, r]).item()
            total += alignment
        expected = [loss_cls / (total or 1), loss_box / (total or 1)]
        assert expected == as_floats(losses)

    @given(batch=batches(limit=100), initial_phase=st.booleans(), seed=seeds)
    def test_order_and_repetition_of_images_have_no_influence(
        self, model, batch, initial_phase, seed
    ):
        """Nor the images' order nor, with objects, whether each is there twice."""
        anchors, *tensors, targets = batch
        order = torch.randperm(len(tensors[0]), generator=generator_of(seed))
        if targets.positive.any():
            order = order.repeat(2)
        again = [x[order] for x in tensors], type(targets)(*(x[order] for x in targets))
        losses = model.losses(anchors, *again[0], again[1], initial_phase=initial_phase)
        expected = model.losses(*batch, initial_phase=initial_phase)
        assert [x.item() for x in losses.values()] == as_floats(expected)

    @given(batch=batches(), initial_phase=st.booleans())
    def test_losses_and_gradients_are_finite(self, model, batch, initial_phase):
        """Box predictions of background have no gradient, those of objects have one."""
        anchors, logits, boxes, targets = batch

        def total(logits, boxes):
            losses = model.losses(anchors, logits, boxes, targets, initial_phase=initial_phase)
            assert all(0 <= x.item() < torch.inf for x in losses.values())
            return sum(losses.values())

        _, *grads = value_and_grad(total, logits, boxes)
        assert all(grad.isfinite().all() for grad in grads)
        moves = (grads[1] != 0).any(dim=2)
        weights = target_centerness(anchors[0], targets) if initial_phase else targets.alignment
        assert torch.equal(moves, weights > 0)
