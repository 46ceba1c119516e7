"""The whole detector on ordinary and degenerate data; targets, losses and detections by hand."""

import math

import pytest
import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage
from tood_d2.modeling import ATSSAssigner, ParallelHead, TaskAlignedAssigner, meta_arch
from tood_d2.modeling.targets import Targets, image_targets, target_centerness

LOG2 = math.log(2)
INITIAL, TAL = 0, 1  # iterations: the tiny model's initial phase is one iteration long
both_phases = pytest.mark.parametrize("iteration", [INITIAL, TAL], ids=["initial", "tal"])


def make_boxes(rows):
    return Boxes(torch.tensor(rows, dtype=torch.float32).reshape(-1, 4))


def make_instances(image_size, boxes=(), classes=()):
    return Instances(
        image_size,
        gt_boxes=make_boxes(boxes),
        gt_classes=torch.tensor(classes, dtype=torch.int64),
    )


def example(height, width, boxes=(), classes=()):
    image = torch.randint(256, (3, height, width), dtype=torch.uint8)
    return {"image": image, "instances": make_instances((height, width), boxes, classes)}


def step(model, batch, iteration):
    """One forward and backward pass."""
    losses = model(batch, iteration)
    sum(losses.values()).backward()
    return losses


def assert_all_gradients(model):
    """Also of parameters without a part in the loss: DistributedDataParallel waits for them."""
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


class TestTraining:
    @both_phases
    @pytest.mark.parametrize("anchor_type", ["anchor_free", "anchor_based"])
    def test_every_parameter_has_a_gradient(self, tiny_tood, anchor_type, iteration):
        model = tiny_tood(head={"anchor_type": anchor_type, "num_deform_convs": 1})
        batch = [
            example(64, 96, [[5, 5, 40, 50], [50, 10, 90, 60], [8, 8, 30, 30]], [0, 1, 2]),
            example(60, 80, [[0, 0, 80, 60]], [2]),
        ]
        losses = step(model, batch, iteration)
        assert set(losses) == {"loss_cls", "loss_box_reg"}
        assert all(0 < loss.item() < 100 for loss in losses.values())
        assert_all_gradients(model)
        for name, parameter in model.head.named_parameters():
            if "scales" not in name:  # a level without positives has none
                assert parameter.grad.any(), name

    @both_phases
    def test_image_without_objects_among_others(self, tiny_tood, iteration):
        model = tiny_tood()
        losses = step(model, [example(64, 64, [[8, 8, 56, 56]], [1]), example(64, 64)], iteration)
        assert all(loss.item() > 0 for loss in losses.values())
        assert_all_gradients(model)

    @both_phases
    def test_batch_without_objects(self, tiny_tood, iteration):
        model = tiny_tood()
        batch = [example(64, 64), example(64, 64)]
        losses = step(model, batch, iteration)
        assert losses["loss_box_reg"].item() == 0
        assert_all_gradients(model)
        assert model.head.cls_logits.weight.grad.any()
        # Every score is a negative's, and the divisor 1.
        with torch.no_grad():
            features = model.backbone(model.preprocess_image(batch).tensor)
            logits, _ = model.head(list(features.values()))
        p = torch.cat([x.flatten() for x in logits]).sigmoid()
        weight = 0.75 if iteration == INITIAL else 1
        expected = -(weight * p**2 * (1 - p).log()).sum()
        torch.testing.assert_close(losses["loss_cls"].detach(), expected)

    @both_phases
    def test_one_cell_maps_and_fewer_anchors_than_topk(self, tiny_tood, iteration):
        model = tiny_tood(strides=(32, 64))  # 2 anchors, both at (0, 0)
        losses = step(model, [example(32, 32, [[-8, -8, 24, 24]], [1])], iteration)
        assert 0 < losses["loss_cls"].item() < 100
        # ATSS: with two candidates mean + std is above both, so that nothing is matched.
        assert (losses["loss_box_reg"].item() > 0) == (iteration == TAL)
        assert_all_gradients(model)

    @both_phases
    def test_object_without_a_center_inside_has_no_box_loss(self, tiny_tood, iteration):
        model = tiny_tood()
        # No centre can lie in it.
        losses = step(model, [example(64, 64, [[8, 8, 8.01, 8.01]], [1])], iteration)
        assert losses["loss_box_reg"].item() == 0
        assert losses["loss_cls"].isfinite()
        assert_all_gradients(model)

    @both_phases
    def test_batch_of_objects_between_the_centers_has_no_box_loss(self, tiny_tood, iteration):
        """The sum of the targets' weights is zero."""
        model = tiny_tood()  # centres at multiples of 8 px
        losses = step(model, [example(64, 64, [[2, 2, 5, 5], [10, 10, 13, 13]], [0, 1])], iteration)
        assert losses["loss_box_reg"].item() == 0
        assert 0 < losses["loss_cls"].item() < 1
        assert model.assignment_metrics["unmatched_objects"] == 2
        assert_all_gradients(model)

    @both_phases
    @pytest.mark.parametrize("settings", [{"min_candidate_size": 16.0}, {"min_positives": 1}])
    def test_objects_between_the_centers_are_learned_on_request(
        self, tiny_tood, iteration, settings
    ):
        model = tiny_tood(
            initial_assigner=ATSSAssigner(**settings), assigner=TaskAlignedAssigner(**settings)
        )
        batch = [example(64, 64, [[2, 2, 5, 5], [10, 10, 13, 13]], [0, 1]), example(64, 64)]
        losses = step(model, batch, iteration)
        assert all(0 < loss.item() < torch.inf for loss in losses.values())
        # A square of 16 px around (3.5, 3.5), say, has the centres (0, 0) and (8, 8) in it.
        assert model.assignment_metrics["unmatched_objects"] == 0
        assert_all_gradients(model)

    @both_phases
    def test_losses_under_autocast_are_float32(self, tiny_tood, iteration):
        # No maps of one cell: oneDNN's bfloat16 gradient of a strided convolution on them is
        # partly uninitialised memory.
        model = tiny_tood(strides=(8, 16))
        with torch.autocast("cpu", torch.bfloat16):
            losses = step(model, [example(64, 64, [[0, 0, 64, 64]], [1])], iteration)
        assert all(loss.dtype == torch.float32 for loss in losses.values())
        assert all(0 < loss.item() < 100 for loss in losses.values())
        assert_all_gradients(model)


class TestWithoutValues:
    """Tensors that have no values show whatever would wait for the device to know some."""

    @pytest.fixture(autouse=True)
    def fake_tensors(self):
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield

    @pytest.mark.parametrize(
        "function",
        [torch.Tensor.item, torch.Tensor.nonzero, bool, lambda x: x[x > 0]],
    )
    def test_what_needs_values_fails(self, function):
        with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
            function(torch.zeros(1))

    @both_phases
    @pytest.mark.parametrize("head", ["anchor_free", "anchor_based", "parallel"])
    def test_training_needs_no_values(
        self, tiny_tood, anchor_generator, monkeypatch, head, iteration
    ):
        strides = (8, 16)
        if head == "parallel":
            model = tiny_tood(strides=strides)
            model.head = ParallelHead(
                in_channels=64,
                num_classes=3,
                anchor_generator=anchor_generator(strides),
                conv_dim=64,
                num_convs=1,
                centerness=True,
            )
        else:
            model = tiny_tood(strides=strides, head={"anchor_type": head, "num_deform_convs": 1})
        # Detectron2's reads the images' sizes from tensors, although not from the device.
        images = ImageList(torch.zeros(2, 3, 64, 96), [(64, 96), (64, 80)])
        monkeypatch.setattr(model, "preprocess_image", lambda batch: images)
        # Nor does it wait to check the ground truth, which mappers leave on the CPU.
        monkeypatch.setattr(
            meta_arch, "ground_truth", lambda batch, _: [x["instances"] for x in batch]
        )
        boxes, classes = [[5, 5, 40, 50], [8, 8, 30, 30]], [0, 1]
        for objects in [(boxes, classes), ((), ())], [((), ()), ((), ())]:
            step(model, [example(64, 96, *x) for x in objects], iteration)
            assert all(p.grad is not None for p in model.parameters())
            assert model.assignment_metrics


class TestPhases:
    @pytest.mark.parametrize(
        ("length", "iteration", "initial"),
        [(3, 0, True), (3, 2, True), (3, 3, False), (3, 100, False), (0, 0, False)],
    )
    def test_follow_the_iteration(self, tiny_tood, length, iteration, initial):
        model = tiny_tood(initial_phase_iters=length)
        assert model.in_initial_phase(iteration) is initial

    def test_are_told_by_argument_or_by_the_event_storage(self, tiny_tood):
        model = tiny_tood(initial_phase_iters=3)
        batch = [example(32, 32, [[4, 4, 28, 28]], [0])]
        losses = {i: model(batch, iteration=i)["loss_cls"].item() for i in (0, 2, 3)}
        assert losses[0] == losses[2] != losses[3]
        for iteration, expected in losses.items():
            with EventStorage(iteration):  # of a trainer that knows nothing of phases
                assert model(batch)["loss_cls"].item() == expected

    def test_have_their_assigners(self, tiny_tood):
        calls = []

        class Spy(ATSSAssigner):
            def __call__(self, *args):
                calls.append("initial")
                return super().__call__(*args)

        model = tiny_tood(initial_assigner=Spy())
        step(model, [example(32, 32)], TAL)
        assert not calls
        step(model, [example(32, 32)], INITIAL)
        assert calls == ["initial"]


class TestLabelAnchors:
    @pytest.fixture
    def model(self, tiny_tood):
        return tiny_tood(strides=(8, 16))

    @pytest.mark.parametrize("initial_phase", [True, False])
    def test_padding_is_matched_to_nothing(self, model, initial_phase):
        """20 x 30 pixels in a batch of 64 x 64 count as 32 x 32."""
        anchors = model.head.anchor_generator([torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 4, 4)])
        x, y = Boxes.cat(anchors).get_centers().unbind(dim=1)
        inside = (x < 32) & (y < 32)
        assert inside.sum() == 4 * 4 + 2 * 2
        # For both assigners the padding is where to look: scores are higher and the centre nearer.
        gt = make_instances((20, 30), [[0, 0, 128, 128]], [1])
        logits = torch.where(inside, 0.0, 5.0)[:, None].expand(2, -1, 3)
        boxes = gt.gt_boxes.tensor.expand(2, len(inside), 4)
        targets = model.label_anchors(
            anchors, logits, boxes, [gt, gt], [(20, 30), (64, 64)], initial_phase
        )
        assert torch.equal(targets.valid[0], inside)
        assert targets.valid[1].all()
        positive = targets.labels == 1
        assert positive[0].any()
        assert not positive[0, ~inside].any()
        assert positive[1, ~inside].any()
        assert (targets.labels[~positive] == 3).all()
        assert torch.equal(targets.alignment > 0, positive)
        assert torch.equal(targets.boxes.any(dim=2), positive)

    @pytest.mark.parametrize("initial_phase", [True, False])
    def test_first_anchor_of_a_level_is_matched_beside_an_image_of_many_objects(
        self, model, initial_phase
    ):
        anchors = model.head.anchor_generator([torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 4, 4)])
        size = (64, 64)
        corner = make_instances(size, [[-20, -20, 20, 20]], [0])
        rows = [[i, i, 64 + i, 64 + i] for i in range(24)]
        many = make_instances(size, rows, [i % 3 for i in range(24)])
        # Every anchor predicts itself.
        boxes = Boxes.cat(anchors).tensor.expand(2, -1, 4)
        logits = torch.zeros(2, boxes.shape[1], 3)
        targets = model.label_anchors(
            anchors, logits, boxes, [corner, many], [size] * 2, initial_phase
        )
        assert targets.labels[0, 0] == 0 and targets.alignment[0, 0] > 0
        assert targets.boxes[0, 0].tolist() == [-20, -20, 20, 20]
        assert targets.positive[1].any()

    def test_targets_of_each_anchor(self, model):
        """Matched indices are those of valid anchors, targets those of all."""
        model.backbone.size_divisibility = 8
        # Centres (0, 0), (8, 0), (0, 8), (8, 8) and (0, 0).
        anchors = model.head.anchor_generator([torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 1)])
        pred_boxes = make_boxes([[-4, -4, 4, 4], [4, -4, 12, 4]] + [[0, 0, 9, 9]] * 3).tensor
        gt = make_instances((16, 8), [[4, -4, 12, 4], [-4, -4, 4, 4], [-4, 4, 4, 12]], [2, 0, 1])
        targets = model.label_anchors(
            anchors, torch.zeros(1, 5, 3), pred_boxes[None], [gt], [(16, 8)], initial_phase=False
        )
        # The image is 8 px wide.
        assert targets.valid[0].tolist() == [True, False, True, False, True]
        # The first predicts the second box, class 0; the third overlaps the last by 4 * 5 of
        # 81 + 64 - 20 px; the last one overlaps the second by 4 * 4 of 81 + 64 - 16.
        assert targets.labels[0].tolist() == [0, 3, 1, 3, 0]
        boxes = gt.gt_boxes.tensor
        none = torch.zeros(4)
        assert torch.equal(
            targets.boxes[0], torch.stack((boxes[1], none, boxes[2], none, boxes[1]))
        )
        # t = 1/2 * u^6 and s the same for all: (u / u_max)^6 * u_max up to the 1e-7.
        u = 16 / 129
        v = 20 / 125
        expected = [1, 0, v * v**6 / (v**6 + 2e-7), 0, u**6]
        torch.testing.assert_close(targets.alignment[0], torch.tensor(expected))
        assert targets.num_objects.tolist() == [[3, 0, 0]]
        assert targets.num_unmatched.tolist() == [[1, 0, 0]]  # the first box, outside of the image

    def test_metrics_count_positives_and_unmatched_objects(self, tiny_tood):
        """An object of 64 pixels, one too small for any anchor, and an image without objects."""
        model = tiny_tood(strides=(8, 16))
        assert model.assignment_metrics == {}
        names = model.state_dict().keys()
        assert model.object_counts.tolist() == [[0, 0, 0], [0, 0, 0]]
        batch = [example(64, 64, [[0, 0, 64, 64], [3, 3, 3.5, 3.5]], [0, 1]), example(64, 64)]
        step(model, batch, INITIAL)
        assert model.object_counts.tolist() == [[1, 1, 0], [1, 0, 0]]
        metrics = model.assignment_metrics
        assert all(value.shape == () and not value.requires_grad for value in metrics.values())
        levels = [metrics[f"num_pos_anchors/{name}"] for name in ("p3", "p4")]
        assert sum(levels) == metrics["num_pos_anchors"] > 0
        assert metrics["alignment"] == 1
        assert metrics["unmatched_objects"] == 1 / 2
        step(model, batch[1:], INITIAL)
        metrics = model.assignment_metrics
        assert metrics["num_pos_anchors"] == metrics["alignment"] == 0
        assert model.object_counts.tolist() == [[0, 0, 0], [0, 0, 0]]
        assert model.state_dict().keys() == names

    def test_sizes_of_objects_are_those_of_coco(self):
        # 31 * 33 = 1023 and 95 * 97 = 9215 px; 1024 and 9216 begin the next size.
        sides = [(31, 33), (32, 32), (95, 97), (96, 96), (1, 9216)]
        gt = make_instances((9999, 9999), [[5, 5, 5 + w, 5 + h] for w, h in sides], [0] * 5)
        matched_idxs = torch.tensor([-1, 4, 2, 2])
        valid = matched_idxs > -9
        targets = image_targets(matched_idxs, valid.float(), valid, gt, num_classes=3)
        assert targets.num_objects.tolist() == [1, 2, 2]
        assert targets.num_unmatched.tolist() == [1, 1, 1]

    def test_centerness_outside_of_the_box(self):
        """Of points above a box, beside its corner and in its middle, and of background."""
        box, none = [4.0, 4, 8, 8], [0.0] * 4
        targets = Targets(
            labels=torch.tensor([[0, 0, 0, 1]]),
            boxes=torch.tensor([[box, box, box, none]]),
            alignment=torch.tensor([[1.0, 1, 1, 0]]),
            positive=torch.tensor([[True, True, True, False]]),
            valid=torch.ones(1, 4, dtype=torch.bool),
            num_objects=torch.tensor([[1, 0, 0]]),
            num_unmatched=torch.zeros(1, 3, dtype=torch.int64),
        )
        anchors = make_boxes([[6, 2, 6, 2], [2, 2, 2, 2], [6, 6, 6, 6], [6, 6, 6, 6]])
        assert target_centerness(anchors, targets)[0].tolist() == pytest.approx([0.1, 0.1, 1, 0])


class TestLosses:
    """K = 2 classes, three anchors: two matched to (0, 0, 10, 10), one to nothing."""

    anchors = [make_boxes([[2, 5, 2, 5], [5, 5, 5, 5]]), make_boxes([[20, 20, 20, 20]])]
    logits = torch.zeros(1, 3, 2)  # p = 1/2
    # GIoU 50 / 100, as the union is the hull; 1; and the last is not matched.
    boxes = make_boxes([[0, 0, 10, 5], [0, 0, 10, 10], [0, 0, 1, 1]]).tensor[None]

    def targets(self, alignment, valid=(True, True, True)):
        return Targets(
            labels=torch.tensor([[1, 0, 2]]),
            boxes=torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 0, 0]]]),
            alignment=torch.tensor([alignment]),
            positive=torch.tensor([[True, True, False]]),
            valid=torch.tensor([valid]),
            num_objects=torch.tensor([[1, 0, 0]]),
            num_unmatched=torch.tensor([[0, 0, 0]]),
        )

    def losses(self, tiny_tood, targets, initial_phase, **settings):
        model = tiny_tood(num_classes=2, **settings)
        losses = model.losses(self.anchors, self.logits, self.boxes, targets, initial_phase)
        return {name: loss.item() for name, loss in losses.items()}

    def test_task_alignment(self, tiny_tood):
        # BCE at p = 1/2 is log 2 whatever y. |y - p|^2 is 0 for y = 1/2, 1/16 for y = 3/4 and
        # 1/4 for the four zeros: 17/16 log 2. GIoU: 2 * 1/2 * 1/2. Both by 1/2 + 3/4.
        losses = self.losses(tiny_tood, self.targets([0.5, 0.75, 0]), initial_phase=False)
        assert losses == pytest.approx(
            {"loss_cls": 17 / 16 * LOG2 / 1.25, "loss_box_reg": 0.5 / 1.25}
        )

    def test_initial_phase(self, tiny_tood):
        # Focal loss: two positives of 1/4 * 1/4 log 2, four negatives of 3/4 * 1/4 log 2, by 2.
        # Centre-ness: sqrt(2/8 * 5/5) = 1/2 and 1. GIoU: 2 * 1/2 * 1/2, by 3/2.
        losses = self.losses(tiny_tood, self.targets([1.0, 1, 0]), initial_phase=True)
        assert losses == pytest.approx({"loss_cls": 7 / 16 * LOG2, "loss_box_reg": 1 / 3})

    def test_settings(self, tiny_tood):
        settings = {"focal_loss_alpha": 0.5, "focal_loss_gamma": 1.0, "box_loss_weight": 1.0}
        # Six elements of 1/2 * 1/2 log 2.
        losses = self.losses(tiny_tood, self.targets([1.0, 1, 0]), True, **settings)
        assert losses == pytest.approx({"loss_cls": 3 / 4 * LOG2, "loss_box_reg": 1 / 6})
        # Six elements of 1/2 log 2, but 0 and 1/4 for y = 1/2 and 3/4: 9/4 log 2.
        losses = self.losses(tiny_tood, self.targets([0.5, 0.75, 0]), False, **settings)
        assert losses == pytest.approx({"loss_cls": 9 / 4 * LOG2 / 1.25, "loss_box_reg": 0.2})

    def test_padding_counts_in_task_alignment_only(self, tiny_tood):
        invalid_last = (True, True, False)
        targets = self.targets([0.5, 0.75, 0], invalid_last)
        losses = self.losses(tiny_tood, targets, initial_phase=False)
        assert losses["loss_cls"] == pytest.approx(17 / 16 * LOG2 / 1.25)
        # Two of the four negatives less: 2/16 + 2 * 3/16.
        targets = self.targets([1.0, 1, 0], invalid_last)
        losses = self.losses(tiny_tood, targets, initial_phase=True)
        assert losses["loss_cls"] == pytest.approx(1 / 2 * LOG2 / 2)

    @pytest.mark.parametrize("initial_phase", [True, False])
    def test_without_matches_only_classification_costs(self, tiny_tood, initial_phase):
        targets = Targets(
            labels=torch.full((1, 3), 2),
            boxes=torch.zeros(1, 3, 4),
            alignment=torch.zeros(1, 3),
            positive=torch.zeros(1, 3, dtype=torch.bool),
            valid=torch.ones(1, 3, dtype=torch.bool),
            num_objects=torch.tensor([[1, 0, 0]]),
            num_unmatched=torch.tensor([[1, 0, 0]]),
        )
        weight = 3 / 4 if initial_phase else 1
        assert self.losses(tiny_tood, targets, initial_phase) == pytest.approx(
            {"loss_cls": 6 * weight / 4 * LOG2, "loss_box_reg": 0}
        )


class TestInference:
    @pytest.fixture
    def model(self, tiny_tood):
        # Initial scores are about 0.01.
        return tiny_tood(test_score_thresh=0.001).eval()

    @torch.no_grad()
    def test_boxes_are_in_the_size_that_the_input_asks_for(self, model):
        """Boxes in the input image are given back in the size that the input asks for."""
        image = example(50, 70)["image"]
        (original,) = model([{"image": image}])
        (doubled,) = model([{"image": image, "height": 100, "width": 140}])
        original, doubled = original["instances"], doubled["instances"]
        assert len(original) > 10
        assert (original.image_size, doubled.image_size) == ((50, 70), (100, 140))
        torch.testing.assert_close(2 * original.pred_boxes.tensor, doubled.pred_boxes.tensor)
        x1, y1, x2, y2 = original.pred_boxes.tensor.unbind(dim=1)
        for low, high, size in ((x1, x2, 70), (y1, y2, 50)):
            assert ((low >= 0) & (low < high) & (high <= size)).all()
        assert (original.scores.diff() <= 0).all()

    @torch.no_grad()
    def test_batch_does_not_mix_images(self, model):
        images = [{"image": example(64, 64)["image"]} for _ in range(2)]
        together = model(images)
        for image, actual in zip(images, together, strict=True):
            (alone,) = model([image])
            torch.testing.assert_close(actual["instances"].scores, alone["instances"].scores)

    @pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
    @torch.no_grad()
    def test_images_that_are_not_finite_give_finite_detections(self, model, value):
        image = torch.full((3, 64, 64), value)
        partly = torch.rand(3, 64, 64)
        partly[:, :8, :8] = value
        for result in model([{"image": image}, {"image": partly}]):
            instances = result["instances"]
            assert instances.pred_boxes.tensor.isfinite().all()
            assert instances.scores.isfinite().all()

    @torch.no_grad()
    def test_low_scores_give_no_detection(self, tiny_tood):
        (result,) = tiny_tood().eval()([{"image": torch.zeros(3, 32, 32)}])
        assert result["instances"].pred_boxes.tensor.shape == (0, 4)
        assert len(result["instances"].scores) == len(result["instances"].pred_classes) == 0


@pytest.mark.parametrize("gamma", [-1.0, 0.5, float("nan")])
def test_exponents_with_infinite_gradients_are_refused(tiny_tood, gamma):
    with pytest.raises(ValueError, match=f"FOCAL_LOSS_GAMMA.*not {gamma}"):
        tiny_tood(focal_loss_gamma=gamma)
