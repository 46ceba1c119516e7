"""Hard NMS and Soft-NMS, by hand, against a plain loop, and rules that hold for any boxes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detectron2.layers import batched_nms
from tood_d2.config import load_run
from tood_d2.modeling.suppression import NMS_TYPES, suppress

# IoU of A with B is 0.8 and with C 0.5, that of B with C 5 / 8.
A, B, C = [0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5]
SOFT = ("soft_linear", "soft_gaussian")


def detect(boxes, scores, classes=None, **settings):
    """Positions and scores of what is kept, as plain lists."""
    settings = {"nms_thresh": 0.6, "max_detections": 100} | settings
    classes = torch.tensor([0] * len(boxes) if classes is None else classes, dtype=torch.int64)
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    kept, scores = suppress(boxes, torch.tensor(scores), classes, **settings)
    return kept.tolist(), scores.tolist()


@pytest.mark.parametrize(
    ("nms_type", "kept", "scores"),
    [
        # B is dropped.
        ("hard", [0, 2], [0.9, 0.7]),
        # A lowers B to 0.8 * (1 - 0.8) = 0.16 and leaves C, which has no IoU above 0.6. C lowers B
        # to 0.16 * (1 - 0.625) = 0.06.
        ("soft_linear", [0, 2, 1], [0.9, 0.7, 0.06]),
        # A lowers B to 0.8 exp(-0.64 / 0.5) = 0.222430 and C to 0.7 exp(-0.25 / 0.5) = 0.424571.
        # C lowers B to 0.222430 exp(-0.390625 / 0.5) = 0.101836.
        ("soft_gaussian", [0, 2, 1], [0.9, 0.424571, 0.101836]),
    ],
)
def test_three_boxes(nms_type, kept, scores):
    assert detect([A, B, C], [0.9, 0.8, 0.7], nms_type=nms_type) == (
        kept,
        pytest.approx(scores, abs=1e-6),
    )


def test_a_smaller_sigma_suppresses_more():
    # 0.8 exp(-0.64 / 0.1) = 0.001329
    kept, scores = detect([A, B], [0.9, 0.8], nms_type="soft_gaussian", sigma=0.1)
    assert (kept, scores) == ([0, 1], pytest.approx([0.9, 0.001329], abs=1e-6))


@pytest.mark.parametrize("nms_type", SOFT)
def test_other_classes_are_left_alone(nms_type):
    result = detect([A, A, B], [0.9, 0.8, 0.7], [0, 1, 2], nms_type=nms_type)
    assert result == ([0, 1, 2], pytest.approx([0.9, 0.8, 0.7]))


@pytest.mark.parametrize("nms_type", SOFT)
def test_what_falls_to_the_threshold_is_dropped(nms_type):
    result = detect([A, B, C], [0.9, 0.8, 0.7], nms_type=nms_type, score_thresh=0.11)
    assert result[0] == [0, 2]


def test_a_copy_of_a_better_box():
    assert detect([A, A], [0.9, 0.8], nms_type="soft_linear") == ([0], pytest.approx([0.9]))
    kept, scores = detect([A, A], [0.9, 0.8], nms_type="soft_gaussian")
    # 0.8 exp(-1 / 0.5)
    assert (kept, scores) == ([0, 1], pytest.approx([0.9, 0.108268], abs=1e-6))


@pytest.mark.parametrize("nms_type", SOFT)
def test_of_equal_scores_the_first_box_comes_first(nms_type):
    far = [[20 * i, 0, 20 * i + 10, 10] for i in range(40)]
    assert detect(far, [0.5] * 40, nms_type=nms_type)[0] == list(range(40))
    assert detect(far, [0.5] * 40, nms_type=nms_type, max_detections=3)[0] == [0, 1, 2]


@pytest.mark.parametrize("nms_type", NMS_TYPES)
def test_nothing_to_suppress(nms_type):
    assert detect([], [], nms_type=nms_type) == ([], [])
    assert detect([A], [0.5], nms_type=nms_type, max_detections=0) == ([], [])
    point = [5, 5, 5, 5]  # has no IoU, not even with its copy
    assert detect([point, point], [0.9, 0.8], nms_type=nms_type)[0] == [0, 1]


def iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if width * height > 0 else 0.0


def plain_loop(boxes, scores, classes, nms_type, nms_thresh, sigma, limit):
    """Figure 2 of the paper, in Python's numbers."""
    waiting, result = dict(enumerate(scores)), []
    while waiting and len(result) < limit:
        best = max(waiting, key=lambda i: (waiting[i], -i))
        result.append((best, waiting.pop(best)))
        for i in waiting:
            if classes[i] == classes[best]:
                overlap = iou(boxes[i], boxes[best])
                if nms_type == "soft_gaussian":
                    waiting[i] *= math.exp(-(overlap**2) / sigma)
                elif overlap > nms_thresh:
                    waiting[i] *= 1 - overlap
    return result


@st.composite
def detections(draw):
    """Boxes with sides on a grid, which touch, contain and equal each other, two classes."""
    number = draw(st.integers(0, 12))
    corner, side = st.integers(0, 6), st.integers(0, 5)
    boxes = []
    for _ in range(number):
        x, y, width, height = draw(corner), draw(corner), draw(side), draw(side)
        boxes.append([x, y, x + width, y + height])
    scores = draw(st.lists(st.integers(1, 9), min_size=number, max_size=number))
    classes = draw(st.lists(st.integers(0, 1), min_size=number, max_size=number))
    return boxes, [x / 10 for x in scores], classes


@given(detections(), st.sampled_from(SOFT), st.integers(1, 12))
def test_a_plain_loop_gives_the_same(example, nms_type, limit):
    boxes, scores, classes = example
    settings = {"nms_thresh": 0.3, "nms_type": nms_type, "sigma": 0.5, "max_detections": limit}
    kept, found = detect(*example, score_thresh=-1.0, **settings)
    loop = dict(plain_loop(boxes, scores, classes, nms_type, 0.3, 0.5, limit))
    # Scores that are equal but for rounding can change places, and what is last then differs.
    assert found == pytest.approx(list(loop.values()), abs=1e-6)
    if limit >= len(boxes):
        assert dict(zip(kept, found, strict=True)) == pytest.approx(loop, abs=1e-6)


@given(detections(), st.sampled_from(SOFT))
def test_scores_never_rise_and_the_best_one_stays(example, nms_type):
    boxes, scores, classes = example
    kept, found = detect(*example, nms_type=nms_type)
    assert len(set(kept)) == len(kept) and found == sorted(found, reverse=True)
    assert all(x <= scores[i] + 1e-6 for i, x in zip(kept, found, strict=True))
    for cls in set(classes):
        best = max(x for x, y in zip(scores, classes, strict=True) if y == cls)
        of_class = [x for i, x in zip(kept, found, strict=True) if classes[i] == cls]
        assert of_class[0] == pytest.approx(best)


@given(detections())
def test_limits_of_sigma(example):
    """Towards 0 it is hard NMS that allows no overlap, towards infinity none at all."""
    boxes, scores, classes = example
    scores = [x + i / 1000 for i, x in enumerate(scores)]  # all different
    hard = detect(boxes, scores, classes, nms_thresh=0.0)
    soft = detect(boxes, scores, classes, nms_type="soft_gaussian", sigma=1e-6, score_thresh=1e-6)
    assert soft == (hard[0], pytest.approx(hard[1]))
    kept, found = detect(boxes, scores, classes, nms_type="soft_gaussian", sigma=1e9)
    assert len(kept) == len(boxes) and found == pytest.approx(sorted(scores, reverse=True))


@given(detections(), st.integers(1, 12))
def test_hard_nms_is_detectron2s(example, limit):
    boxes, scores, classes = example
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    scores, classes = torch.tensor(scores), torch.tensor(classes, dtype=torch.int64)
    kept, found = suppress(boxes, scores, classes, nms_thresh=0.6, max_detections=limit)
    assert torch.equal(kept, batched_nms(boxes, scores, classes, 0.6)[:limit])
    assert torch.equal(found, scores[kept])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"test_nms_type": "soft"},
            "NMS_TYPE_TEST .* hard or soft_linear or soft_gaussian, not 's",
        ),
        ({"test_soft_nms_sigma": 0.0}, "SOFT_NMS_SIGMA_TEST .* should be above 0, not 0.0"),
        ({"test_soft_nms_sigma": math.nan}, "should be above 0, not nan"),
    ],
)
def test_other_settings_are_refused(tiny_tood, settings, message):
    with pytest.raises(ValueError, match=message):
        tiny_tood(**settings)


def test_a_model_with_soft_nms_finds_more_boxes(tiny_tood):
    """Boxes of neighbouring locations, which hard NMS drops, at lower scores."""
    model = tiny_tood(test_nms_thresh=0.3, test_score_thresh=0.0, test_topk_candidates=50).eval()
    torch.nn.init.normal_(model.head.cls_logits.weight, std=0.2)
    sample = {"image": torch.randint(0, 256, (3, 96, 96), dtype=torch.uint8)}
    (hard,) = model([sample])
    model.test_nms_type = "soft_gaussian"
    (soft,) = model([sample])
    hard, soft = hard["instances"].scores, soft["instances"].scores
    assert len(soft) == model.max_detections_per_image == 100 > len(hard)
    assert soft[0] == hard[0] and soft[1:].max() < hard[0]


@pytest.mark.parametrize(
    ("config", "overrides"),
    [
        (
            "tood_R_18_FPN_small.py",
            ["model.test_nms_type=soft_linear", "model.test_soft_nms_sigma=0.25"],
        ),
        (
            "tood_R_50_FPN_1x.yaml",
            ["MODEL.TOOD.NMS_TYPE_TEST=soft_linear", "MODEL.TOOD.SOFT_NMS_SIGMA_TEST=0.25"],
        ),
    ],
)
def test_keys_of_both_kinds_of_config(config, overrides):
    small = ["MODEL.RESNETS.DEPTH=18", "MODEL.RESNETS.RES2_OUT_CHANNELS=64"]
    model = load_run(config, [*(small if "yaml" in config else []), *overrides]).build_model()
    assert (model.test_nms_type, model.test_soft_nms_sigma) == ("soft_linear", 0.25)
