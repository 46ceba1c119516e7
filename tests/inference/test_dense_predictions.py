"""The dense predictions are what each detector selects its detections from."""

import pytest
import torch
from torch import nn

from detectron2.layers import ShapeSpec, batched_nms
from detectron2.modeling import detector_postprocess
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.meta_arch.fcos import FCOS, FCOSHead
from detectron2.modeling.meta_arch.retinanet import RetinaNet, RetinaNetHead
from detectron2.structures import Boxes, Instances
from tood_d2.inference import dense_predictions, scores_and_boxes
from tood_d2.modeling import TOOD, FoveaBox, ParallelHead

STRIDES = (8, 16, 32)
NUM_CLASSES = 3
SIZES = [(60, 90), (90, 50)]  # padded to (96, 96)


@pytest.fixture
def images():
    return [{"image": torch.randint(0, 256, (3, *size)).float()} for size in SIZES]


@pytest.fixture
def build(tiny_tood, anchor_generator):
    """Builds a small detector by name."""

    def _build(name):
        settings = {"test_score_thresh": 0.02, "test_topk_candidates": 40}
        tood = tiny_tood(strides=STRIDES, num_classes=NUM_CLASSES, **settings)
        if name == "tood":
            return tood
        if name == "centerness":
            tood.head = ParallelHead(
                in_channels=64,
                num_classes=NUM_CLASSES,
                anchor_generator=anchor_generator(STRIDES),
                conv_dim=64,
                num_convs=1,
                centerness=True,
            )
            return tood
        settings |= {
            "backbone": tood.backbone,
            "num_classes": NUM_CLASSES,
            "head_in_features": ["p3", "p4", "p5"],
            "pixel_mean": (120.0,) * 3,
            "pixel_std": (60.0,) * 3,
        }
        head = {
            "input_shape": [ShapeSpec(channels=64)] * len(STRIDES),
            "num_classes": NUM_CLASSES,
            "conv_dims": [64],
        }
        if name == "fcos":
            return FCOS(head=FCOSHead(**head), **settings)
        if name == "foveabox":
            return FoveaBox(head=RetinaNetHead(num_anchors=1, **head), **settings)
        return RetinaNet(
            head=RetinaNetHead(num_anchors=2, **head),
            anchor_generator=DefaultAnchorGenerator(
                sizes=[[4 * x] for x in STRIDES], aspect_ratios=[0.5, 2.0], strides=STRIDES
            ),
            box2box_transform=Box2BoxTransform(weights=(1.0,) * 4),
            anchor_matcher=Matcher([0.4, 0.5], [0, -1, 1]),
            **settings,
        )

    return _build


def draw_weights(model):
    """Draws weights that let scores and boxes vary."""
    for module in model.head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.05)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.5)
    return model.eval()


def select(predictions, model):
    """Threshold and top-k per level, clipping, NMS: the selection that the detectors share."""
    candidates, end = [], 0
    for height, width, anchors in predictions.level_sizes:
        start, end = end, end + height * width * anchors
        level = [
            (predictions.scores[r, k].item(), r, k)
            for r in range(start, end)
            for k in range(NUM_CLASSES)
            if predictions.scores[r, k] > model.test_score_thresh
        ]
        candidates += sorted(level, reverse=True)[: model.test_topk_candidates]
    assert end == len(predictions.scores)
    scores, rows, classes = map(torch.tensor, zip(*candidates, strict=True))
    boxes = predictions.boxes[rows]
    if isinstance(model, TOOD):  # clips before NMS
        height, width = predictions.image_size
        boxes = torch.stack([boxes[:, i].clip(0, (width, height)[i % 2]) for i in range(4)], 1)
    keep = batched_nms(boxes, scores, classes, model.test_nms_thresh)
    keep = keep[: model.max_detections_per_image]
    instances = Instances(
        predictions.image_size,
        pred_boxes=Boxes(boxes[keep]),
        scores=scores[keep],
        pred_classes=classes[keep],
    )
    return detector_postprocess(instances, *predictions.image_size)


@pytest.mark.parametrize("name", ["tood", "centerness", "fcos", "retinanet"])
def test_selection_from_dense_predictions_gives_the_detections(build, images, name):
    model = draw_weights(build(name))
    per_image = dense_predictions(model, images)
    with torch.no_grad():
        expected = [x["instances"] for x in model(images)]
    assert len(per_image) == len(expected) == 2
    for predictions, detections, size in zip(per_image, expected, SIZES, strict=True):
        assert predictions.image_size == size
        selected = select(predictions, model)
        assert len(selected) == len(detections) > 10
        assert selected.pred_classes.tolist() == detections.pred_classes.tolist()
        torch.testing.assert_close(selected.scores, detections.scores)
        torch.testing.assert_close(selected.pred_boxes.tensor, detections.pred_boxes.tensor)


@pytest.mark.parametrize(("name", "num_anchors"), [("tood", 1), ("fcos", 1), ("retinanet", 2)])
def test_shapes(build, images, name, num_anchors):
    for predictions in dense_predictions(build(name).eval(), images):
        # 96 / 8, 96 / 16 and 96 / 32 locations a side: 144 + 36 + 9 in all.
        assert predictions.level_sizes == [(x, x, num_anchors) for x in (12, 6, 3)]
        assert predictions.scores.shape == (189 * num_anchors, NUM_CLASSES)
        assert predictions.boxes.shape == (189 * num_anchors, 4)
        assert not predictions.scores.requires_grad


def test_boxes_are_not_clipped(build, images):
    model = build("fcos").eval()
    nn.init.constant_(model.head.bbox_pred.bias, 10.0)  # about 10 strides to each side
    predictions = dense_predictions(model, images[:1])[0]
    assert predictions.boxes[:, :2].min() < -30
    assert predictions.boxes[:, 2:].max() > 96 + 30


class OtherModel(nn.Module):
    head_in_features = ("p3",)
    head = nn.Identity()


def test_unknown_model(images):
    with pytest.raises(TypeError, match=r"OtherModel.*scores_and_boxes\.register"):
        dense_predictions(OtherModel(), images)


def test_registration_of_another_detector(build, images):
    class Doubtful(FCOS):
        """Believes half of what FCOS does."""

    @scores_and_boxes.register
    def _(model: Doubtful, features, predictions):
        scores, boxes = scores_and_boxes.dispatch(FCOS)(model, features, predictions)
        return [x / 2 for x in scores], boxes

    model = build("fcos").eval()
    (expected,) = dense_predictions(model, images[:1])
    model.__class__ = Doubtful
    (predictions,) = dense_predictions(model, images[:1])
    assert torch.equal(predictions.scores, expected.scores / 2)
    assert torch.equal(predictions.boxes, expected.boxes)
