import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detectron2.layers import ShapeSpec
from detectron2.modeling.meta_arch.retinanet import RetinaNetHead
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage, get_event_storage
from tood_d2.modeling import FoveaBox, LogDistanceTransform

STRIDES = (8, 16, 32)
SIZE = (64, 96)


def build(tiny_tood):
    return FoveaBox(
        backbone=tiny_tood(strides=STRIDES).backbone,
        head=RetinaNetHead(
            input_shape=[ShapeSpec(channels=64)] * 3, num_classes=2, num_anchors=1, conv_dims=[64]
        ),
        num_classes=2,
        pixel_mean=(0.0, 0.0, 0.0),
        pixel_std=(255.0, 255.0, 255.0),
    )


@pytest.fixture(scope="module")
def model(tiny_tood):
    return build(tiny_tood)


def instances(boxes, classes):
    gt = Instances(SIZE)
    gt.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    gt.gt_classes = torch.tensor(classes, dtype=torch.int64)
    return gt


def anchors_of(model):
    return model.anchor_generator([torch.zeros(1, 1, SIZE[0] // s, SIZE[1] // s) for s in STRIDES])


def positives(model, gt):
    """{(level, row, column): (label, box)} of the positive locations."""
    (labels,), (boxes,) = model.label_anchors(anchors_of(model), [gt])
    found, start = {}, 0
    for level, stride in enumerate(STRIDES):
        height, width = SIZE[0] // stride, SIZE[1] // stride
        for i in range(height * width):
            if labels[start + i] != model.num_classes:
                place = (level, *divmod(i, width))
                found[place] = (labels[start + i].item(), boxes[start + i].tolist())
        start += height * width
    assert start == len(labels)
    return found


def test_positives_are_the_middle_of_the_box_on_the_levels_of_its_scale(model):
    # Scale 32, centre (24, 24): 6.4 = 0.4 * 16 to each side is positive, [17.6, 30.4].
    # Stride 8, scales up to 64: centres 20 and 28. Stride 16, scales 32 to 128: centre 24.
    # Stride 32, scales from 64 on: none.
    box = [8.0, 8.0, 40.0, 40.0]
    places = [(0, 2, 2), (0, 2, 3), (0, 3, 2), (0, 3, 3), (1, 1, 1)]
    assert positives(model, instances([box], [1])) == dict.fromkeys(places, (1, box))


def test_small_and_large_boxes_belong_to_the_outermost_levels(model):
    # Scale 2 around the centre of the location (1, 1) of stride 8.
    assert positives(model, instances([[11.0, 11.0, 13.0, 13.0]], [0])).keys() == {(0, 1, 1)}
    # Scale 2000 on the level of stride 32 only, whose locations are all in the middle.
    large = positives(model, instances([[-952.0, -968.0, 1048.0, 1032.0]], [0]))
    assert large.keys() == {(2, i, j) for i in range(2) for j in range(3)}


def test_smaller_of_two_boxes_wins(model):
    # The small box has scale 16 and centre 22: [18.8, 25.2] is positive, the centre 20.
    boxes = [[8.0, 8.0, 40.0, 40.0], [14.0, 14.0, 30.0, 30.0]]
    for order in ([0, 1], [1, 0]):
        found = positives(model, instances([boxes[i] for i in order], order))
        assert found[0, 2, 2] == (1, boxes[1])
        assert found[0, 2, 3] == (0, boxes[0])


# Whole quarters: a location exactly on the edge of the middle part would be a matter of rounding.
coordinates = st.integers(0, 255)


@given(st.lists(st.tuples(coordinates, coordinates, coordinates, coordinates), max_size=6))
def test_positives_by_the_definition(tiny_tood, drawn):
    model = build(tiny_tood)
    boxes = []
    for x1, y1, x2, y2 in drawn:
        x1, x2 = sorted((x1 * 96 / 255, x2 * 96 / 255))
        y1, y2 = sorted((y1 * 64 / 255, y2 * 64 / 255))
        boxes.append((x1, y1, x2 + 0.3, y2 + 0.3))
    found = positives(model, instances(boxes, [0] * len(boxes)))
    for level, stride in enumerate(STRIDES):
        low = 0 if level == 0 else 2 * stride
        high = math.inf if level == 2 else 8 * stride
        for i in range(SIZE[0] // stride):
            for j in range(SIZE[1] // stride):
                x, y = (j + 0.5) * stride, (i + 0.5) * stride
                best, doubtful = None, False
                for x1, y1, x2, y2 in boxes:
                    width, height = x2 - x1, y2 - y1
                    scale = math.sqrt(width * height)
                    # How far inside (negative) or outside of the middle part and the scales.
                    margin = max(
                        abs(x - (x1 + x2) / 2) - 0.2 * width,
                        abs(y - (y1 + y2) / 2) - 0.2 * height,
                        low - scale,
                        scale - high,
                    )
                    doubtful |= abs(margin) < 1e-3
                    if margin <= 0 and (best is None or width * height < best):
                        best = width * height
                if not doubtful:
                    assert ((level, i, j) in found) == (best is not None)
                    if best is not None:
                        x1, y1, x2, y2 = found[level, i, j][1]
                        # FCOS ranks areas in float32 next to 1e8.
                        assert (x2 - x1) * (y2 - y1) == pytest.approx(best, abs=10)


def test_log_distances():
    transform = LogDistanceTransform()
    anchor = torch.tensor([[16.0, 16.0, 24.0, 24.0]])  # centre (20, 20), stride 8
    # Distances 12, 16, 20, 0.5; base edge 16. 0.5 is below 1/16 of it and counts as 1.
    deltas = transform.get_deltas(anchor, torch.tensor([[8.0, 4.0, 40.0, 20.5]]))
    expected = [math.log(12 / 16), 0.0, math.log(20 / 16), math.log(1 / 16)]
    torch.testing.assert_close(deltas, torch.tensor([expected]))
    boxes = transform.apply_deltas(deltas, anchor)
    torch.testing.assert_close(boxes, torch.tensor([[8.0, 4.0, 40.0, 21.0]]))
    extreme = torch.tensor([[1e4, -1e4, 1e4, -1e4]])
    assert transform.apply_deltas(extreme, anchor).isfinite().all()
    assert transform.get_deltas(anchor, torch.tensor([[30.0, 30.0, 5.0, 5.0]])).isfinite().all()


def run_losses(model, gts):
    anchors = anchors_of(model)
    labels, boxes = model.label_anchors(anchors, gts)
    logits = [torch.zeros(len(gts), len(x), 2, requires_grad=True) for x in anchors]
    deltas = [torch.zeros(len(gts), len(x), 4, requires_grad=True) for x in anchors]
    with EventStorage():
        losses = model.losses(anchors, logits, labels, deltas, boxes)
        ((positive, _),) = get_event_storage().latest().values()
    sum(losses.values()).backward()
    assert all(x.grad.isfinite().all() for x in logits + deltas)
    return losses, positive


def test_losses(model):
    # One box of scale 16 around the centre of the location (2, 2) of stride 8: one positive.
    # At logits of zero each class of a location costs ln(2) / 2 ** 1.5 times 0.4 or 0.6.
    # 126 = 96 + 24 + 6 locations an image.
    gts = [instances([[12.0, 12.0, 28.0, 28.0]], [1]), instances([], [])]
    losses, positive = run_losses(model, gts)
    assert positive == 1 / 2
    expected = (0.4 + 0.6 * (2 * 2 * 126 - 1)) * math.log(2) / 2**1.5 / (1 + 2)
    assert losses["loss_cls"].item() == pytest.approx(expected)
    # Four distances of 8, ln(1/2) from zero, beyond beta: |x| - beta / 2.
    assert losses["loss_box_reg"].item() == pytest.approx(4 * (math.log(2) - 0.11 / 2))


def test_losses_without_objects(model):
    losses, positive = run_losses(model, [instances([], [])])
    assert positive == 0
    assert losses["loss_cls"].item() == pytest.approx(0.6 * 2 * 126 * math.log(2) / 2**1.5)
    assert losses["loss_box_reg"].item() == 0
