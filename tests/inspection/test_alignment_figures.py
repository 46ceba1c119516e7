"""Which level and which anchors are shown of an object, on maps made by hand."""

import io

import cv2
import numpy as np
import pytest
import torch

from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.structures import Boxes, Instances
from tood_d2.inference import DensePredictions
from tood_d2.inspection.alignment_figures import draw_object, view_object
from tood_d2.inspection.head_maps import draw_internals, head_internals

STRIDES = (8, 16)
LEVEL_SIZES = [(2, 3, 1), (1, 2, 1)]
# Centres of level 0: (0, 0), (8, 0), (16, 0), (0, 8), (8, 8), (16, 8); of level 1: (0, 0), (16, 0).
NUM_ANCHORS = 8
IMAGE_SIZE = (16, 24)


def as_map(*rows):
    return torch.tensor(rows, dtype=torch.float)[..., None]


@pytest.fixture
def view(anchor_generator):
    """Views object 0 of some of class 1 of 2, given what is predicted of class 1."""

    def _view(gt_boxes, scores, boxes):
        scores = torch.tensor(scores)
        predictions = DensePredictions(
            torch.stack((1 - scores, scores), dim=1),
            torch.tensor(boxes, dtype=torch.float),
            IMAGE_SIZE,
            LEVEL_SIZES,
        )
        gt = Instances(IMAGE_SIZE)
        gt.gt_boxes = Boxes(torch.tensor(gt_boxes, dtype=torch.float))
        gt.gt_classes = torch.ones(len(gt_boxes), dtype=torch.int64)
        return view_object(predictions, anchor_generator(STRIDES), gt, 0)

    return _view


def read(figure):
    file = io.BytesIO()
    figure.savefig(file)
    return cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR)


def draw(view):
    image = np.zeros((*IMAGE_SIZE, 3), np.uint8)
    picture = read(draw_object([("model", image, view)], "object"))
    assert picture.std() > 10
    return picture


OBJECT = [4, 4, 20, 12]  # 16 x 8, around the centres (8, 8) and (16, 8) of level 0
FAR = [100, 100, 110, 110]


class TestViewObject:
    def test_anchors_outside_do_not_win(self, view):
        boxes = [FAR] * NUM_ANCHORS
        boxes[1] = OBJECT  # outside, with the highest score and IoU
        boxes[4] = [4, 4, 20, 8]  # half of it
        boxes[5] = [4, 4, 8, 12]  # a quarter of it
        scores = [0.0, 0.9, 0.0, 0.0, 0.3, 0.6, 0.0, 0.0]
        result = view([OBJECT], scores, boxes)
        assert (result.level, result.stride, result.best) == (0, 8, (5, 4))
        assert result.gt_box.tolist() == OBJECT
        torch.testing.assert_close(result.scores, as_map([0, 0.9, 0], [0, 0.3, 0.6]))
        torch.testing.assert_close(result.ious, as_map([0, 1, 0], [0, 0.5, 0.25]))
        assert result.centers[1, 2, 0].tolist() == [16, 8]
        assert result.boxes[1, 2, 0].tolist() == [4, 4, 8, 12]
        picture = draw(result).astype(int)
        blue, green, red = picture[..., 0], picture[..., 1], picture[..., 2]
        assert ((red > 200) & (green < 50) & (blue < 50)).any()  # best classified
        assert ((green > 180) & (red < 100) & (blue < 100)).any()  # best localised
        assert ((red > 200) & (green > 180) & (blue < 50)).any()  # ground truth

    def test_predictions_of_a_neighbour_do_not_win(self, view):
        neighbour = [12, 4, 28, 12]
        boxes = [FAR] * NUM_ANCHORS
        boxes[4], boxes[5] = OBJECT, neighbour
        scores = [0.0, 0.0, 0.0, 0.0, 0.3, 0.6, 0.0, 0.0]
        assert view([OBJECT], scores, boxes).best == (5, 4)
        assert view([OBJECT, neighbour], scores, boxes).best == (4, 4)

    def test_level_of_the_best_classified(self, view):
        large = [-4, -4, 20, 12]
        boxes = [large] * NUM_ANCHORS
        boxes[6] = [-4, -4, 20, 4]  # half of it
        scores = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9, 0.8]
        result = view([large], scores, boxes)
        # On level 1 of (0, 0) and (16, 0).
        assert (result.level, result.stride, result.best) == (1, 16, (0, 1))
        torch.testing.assert_close(result.ious, as_map([0.5, 1]))
        draw(result)

    @pytest.mark.parametrize(
        ("first", "last", "level", "best"), [(0, 5, 0, 5), (3, 6, 1, 0), (7, 7, 1, 1)]
    )
    def test_only_candidates_count(self, view, first, last, level, best):
        box = [-4, -4, 20, 12]  # around all centres
        boxes = [box if first <= i <= last else FAR for i in range(NUM_ANCHORS)]
        result = view([box], [0.1, 0.2, 0.3, 0.4, 0.5, 0.8, 0.9, 0.85], boxes)
        assert (result.level, result.best[0]) == (level, best)

    def test_candidates_without_a_score(self, view):
        boxes = [FAR] * 4 + [OBJECT] * 2 + [FAR] * 2
        assert view([OBJECT], [0.0] * NUM_ANCHORS, boxes).best == (4, 4)

    def test_several_anchors_per_location(self):
        generator = DefaultAnchorGenerator(
            sizes=[[16]], aspect_ratios=[0.5, 2.0], strides=[8], offset=0.0
        )
        gt = Instances(IMAGE_SIZE, gt_boxes=Boxes([[-4, -4, 12, 4]]), gt_classes=torch.tensor([0]))
        boxes = torch.tensor([[-4.0, -4, 12, y] for y in (1, 2, 4, 3)])
        scores = torch.tensor([[0.1], [0.6], [0.2], [0.3]])
        predictions = DensePredictions(scores, boxes, IMAGE_SIZE, [(1, 2, 2)])
        assert view_object(predictions, generator, gt, 0).best == (1, 2)

    def test_no_anchor_inside(self, view):
        result = view([[1, 1, 7, 7]], [0.5] * NUM_ANCHORS, [[1, 1, 7, 7]] * NUM_ANCHORS)
        assert (result.level, result.best) == (0, None)
        draw(result)

    def test_without_overlap_there_is_no_best(self, view):
        result = view([OBJECT], [0.5] * NUM_ANCHORS, [FAR] * NUM_ANCHORS)
        assert (result.level, result.best) == (0, None)
        draw(result)


def test_one_cell_maps_of_several_models(anchor_generator):
    """Two models, with input images of different sizes, that have one anchor each."""
    rows = []
    for scale in (1, 2):
        box = torch.tensor([[-4.0, -4, 12, 12]]) * scale
        gt = Instances((8 * scale, 8 * scale))
        gt.gt_boxes, gt.gt_classes = Boxes(box), torch.tensor([0])
        predictions = DensePredictions(torch.ones(1, 1), box, gt.image_size, [(1, 1, 1)])
        result = view_object(predictions, anchor_generator((8 * scale,)), gt, 0)
        assert result.best == (0, 0)
        assert result.scores.shape == result.ious.shape == (1, 1, 1)
        rows.append(("model", np.zeros((*gt.image_size, 3), np.uint8), result))
    heights = [read(draw_object(rows[:count], "object")).shape[0] for count in (1, 2)]
    assert heights[1] == 2 * heights[0]


class TestInternals:
    @pytest.fixture
    def batched_input(self):
        return {"image": torch.rand(3, *IMAGE_SIZE) * 255}

    @pytest.fixture
    def draw(self, view):
        """Draws internals with an object that has an anchor inside and one that has none."""

        def _draw(internals):
            scores, boxes = [0.5] * NUM_ANCHORS, [OBJECT] * NUM_ANCHORS
            views = [view([box], scores, boxes) for box in (OBJECT, [1, 1, 7, 7])]
            return read(draw_internals(np.zeros((*IMAGE_SIZE, 3), np.uint8), views, internals))

        return _draw

    def test_weights_and_offsets(self, tiny_tood, batched_input, draw):
        model = tiny_tood(strides=STRIDES).eval()
        offsets = [0.0, -1, -2, 0, 0, 1, 2, 0]  # (dy, dx): left, up, right, down
        with torch.no_grad():
            for task, biases in (("cls", [0.0, 1.0]), ("box", [2.0, 3.0])):
                attention = getattr(model.head, f"{task}_decomposition").layer_attention
                attention[2].weight.zero_()
                attention[2].bias.copy_(torch.tensor(biases))
            model.head.cls_alignment[-1].weight.zero_()
            model.head.cls_alignment[-1].bias.fill_(1.0)
            model.head.box_alignment[-1].weight.zero_()
            model.head.box_alignment[-1].bias.copy_(torch.tensor(offsets))
        internals = head_internals(model, batched_input)
        expected = torch.tensor([[0.0, 1.0]] * len(STRIDES)).sigmoid()  # one row per level
        torch.testing.assert_close(internals.cls_weights, expected)
        torch.testing.assert_close(internals.box_weights, (expected.logit() + 2).sigmoid())
        # Padded to a multiple of 32 pixels.
        assert [x.shape for x in internals.offsets] == [(4, 4, 4, 2), (2, 2, 4, 2)]
        for x in internals.offsets:
            assert x[1, 1].flatten().tolist() == offsets
        assert [x.shape for x in internals.alignment] == [(4, 4), (2, 2)]
        for x in internals.alignment:
            torch.testing.assert_close(x, torch.ones_like(x).sigmoid())
        assert draw(internals).std() > 10

    def test_head_that_does_not_align(self, tiny_tood, batched_input, draw):
        head = {"align_boxes": False, "align_cls": False}
        internals = head_internals(tiny_tood(strides=STRIDES, head=head).eval(), batched_input)
        assert internals.offsets == internals.alignment == []
        assert draw(internals).std() > 10
