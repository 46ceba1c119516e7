import copy
import io
from pathlib import Path

import pytest
import torch
from small_backbones import small_mvit, small_regnet, small_swin, small_vit
from torch import nn
from torch._dynamo.utils import counters
from torch.nn.modules.batchnorm import _BatchNorm

from detectron2.layers import CycleBatchNormList, FrozenBatchNorm2d
from tood_d2 import optimize_for_inference
from tood_d2.config import load_run
from tood_d2.inference.optimization import find_dtype
from tood_d2.modeling import build_fpn, build_resnet
from tood_d2.modeling.deform_conv import ModulatedDeformConv2d

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
BATCH_NORMS = (FrozenBatchNorm2d, _BatchNorm)
LOW_PRECISION = (torch.bfloat16, torch.float16)


def from_config(name, *overrides):
    return load_run(str(CONFIGS / name), ["train.device=cpu", *overrides]).build_model()


def deformable_backbone():
    resnet = build_resnet(depth=50, deform_on_per_stage=(False, False, False, True))
    return build_fpn(resnet, out_channels=64)


MODELS = {
    "tiny": lambda tiny_tood: tiny_tood(),
    "anchor_based": lambda tiny_tood: tiny_tood(head={"anchor_type": "anchor_based"}),
    "deformable_head": lambda tiny_tood: tiny_tood(head={"num_deform_convs": 1}),
    "deformable_backbone": lambda tiny_tood: tiny_tood(backbone=deformable_backbone()),
    "swin": lambda tiny_tood: tiny_tood(backbone=small_swin()),
    "vit": lambda tiny_tood: tiny_tood(backbone=small_vit()),
    "mvit": lambda tiny_tood: tiny_tood(backbone=small_mvit()),
    "regnet": lambda tiny_tood: tiny_tood(backbone=small_regnet()),
    "norm_in_head": lambda tiny_tood: tiny_tood(head={"norm": "BN"}),
    "BN": lambda _: from_config("tood_R_18_FPN_small.py"),
    "FrozenStatsBN": lambda _: from_config(
        "tood_R_18_FPN_small.py", "model.backbone.bottom_up.norm=FrozenStatsBN"
    ),
    "fcos": lambda _: from_config("ablations/fcos_R_18_FPN_small.py"),
    "retinanet": lambda _: from_config("ablations/retinanet_R_18_FPN_small.py"),
    "retinanet_BN": lambda _: from_config(
        "ablations/retinanet_R_18_FPN_small.py", "model.head.norm=BN"
    ),
}
"""From the function that builds a tiny TOOD."""


def randomize(model):
    """Makes norms matter, offsets move and scores differ from location to location."""
    for name, module in model.named_modules():
        if isinstance(module, BATCH_NORMS):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            if module.weight is not None:
                nn.init.normal_(module.weight.data, 1, 0.1)
                nn.init.normal_(module.bias.data, 0, 0.1)
        elif isinstance(module, CycleBatchNormList):
            nn.init.normal_(module.weight, 4, 0.1)  # else little remains after four of them
        elif isinstance(module, ModulatedDeformConv2d):
            nn.init.normal_(module.conv_offset.weight, std=0.01)
        elif name in ("head.cls_logits", "head.cls_score"):
            nn.init.normal_(module.weight, std=0.05)
    return model


@pytest.fixture
def build(tiny_tood):
    """Builds one of the models, for evaluation, with detections of all scores."""

    def _build(name):
        model = randomize(MODELS[name](tiny_tood)).eval()
        model.test_score_thresh = 0.0
        return model

    return _build


def image(height, width):
    return {"image": torch.randint(256, (3, height, width), dtype=torch.uint8)}


@pytest.fixture
def batches():
    """A batch of two sizes and one of another size."""
    return [image(64, 96), image(50, 70)], [image(32, 128)]


@torch.no_grad()
def predict(model, batch):
    """What the head predicts at all locations, logits first."""
    features = model.backbone(model.preprocess_image(batch).tensor)
    return model.head([features[name] for name in model.head_in_features])


@torch.no_grad()
def detect(model, batch):
    return [output["instances"] for output in model(batch)]


def assert_same_detections(expected, actual):
    """Up to the order of detections whose scores are equal but for rounding."""
    for x, y in zip(expected, actual, strict=True):
        assert len(x) == len(y) > 10
        distances = torch.cdist(x.pred_boxes.tensor, y.pred_boxes.tensor)
        distances[x.pred_classes[:, None] != y.pred_classes] = torch.inf
        y = y[distances.argmin(dim=1)]
        torch.testing.assert_close(y.scores, x.scores, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(y.pred_boxes.tensor, x.pred_boxes.tensor, rtol=1e-4, atol=1e-2)
        assert torch.equal(y.pred_classes, x.pred_classes)


@pytest.mark.parametrize("name", MODELS)
def test_float32_gives_the_same_detections(build, batches, name):
    model = build(name)
    optimized = optimize_for_inference(model)
    for batch in batches:
        assert_same_detections(detect(model, batch), detect(optimized, batch))


@pytest.mark.parametrize("dtype", LOW_PRECISION)
@pytest.mark.parametrize("name", MODELS)
def test_low_precision_gives_similar_scores(build, batches, name, dtype):
    model = build(name)
    optimized = optimize_for_inference(model, dtype)
    for batch in batches:
        for x, y in zip(predict(model, batch)[0], predict(optimized, batch)[0], strict=True):
            torch.testing.assert_close(y.sigmoid(), x.sigmoid(), rtol=0, atol=0.02)
        for x in detect(optimized, batch):
            assert len(x) > 10
            assert x.scores.dtype == x.pred_boxes.tensor.dtype == torch.float32
            assert x.pred_boxes.tensor.isfinite().all()


@pytest.mark.parametrize("name", ["deformable_backbone", "norm_in_head", "BN", "FrozenStatsBN"])
def test_batch_norms_are_folded(build, name):
    model = build(name)
    assert any(isinstance(x, BATCH_NORMS) for x in model.modules())
    assert not any(isinstance(x, BATCH_NORMS) for x in optimize_for_inference(model).modules())


@pytest.mark.parametrize("name", ["FrozenStatsBN", "deformable_head"])
def test_convolutions_and_features_are_bfloat16_and_channels_last(build, batches, name):
    model = optimize_for_inference(build(name), torch.bfloat16)
    assert not model.training
    assert not any(x.requires_grad for x in model.parameters())
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.dtype == torch.bfloat16
            assert module.weight.is_contiguous(memory_format=torch.channels_last)
    assert {x.dtype for x in model.head.scales} == {torch.float32}
    assert {x.dtype for x in model.head.anchor_generator.buffers()} == {torch.float32}
    images = model.preprocess_image(batches[0]).tensor
    features = list(model.backbone(images).values())
    for feature in features:
        assert feature.dtype == torch.bfloat16
        assert feature.is_contiguous(memory_format=torch.channels_last)
    for predictions in model.head(features):
        assert {x.dtype for x in predictions} == {torch.float32}


@pytest.mark.parametrize("training", [True, False])
def test_the_original_stays_as_it_is(build, training):
    model = build("FrozenStatsBN").train(training)
    before = copy.deepcopy(model)
    optimize_for_inference(model, torch.bfloat16)
    state, expected = model.state_dict(), before.state_dict()
    assert list(state) == list(expected)
    for name, value in expected.items():
        assert state[name].dtype == value.dtype and torch.equal(state[name], value), name
        assert state[name].stride() == value.stride(), name
    for x, y in zip(model.parameters(), before.parameters(), strict=True):
        assert x.requires_grad == y.requires_grad
    for x, y in zip(model.modules(), before.modules(), strict=True):
        assert type(x) is type(y) and x.training == y.training
        assert not x._forward_hooks and not x._forward_pre_hooks


@pytest.mark.parametrize("name", ["BN", "deformable_head"])
def test_copies_and_saved_models_detect_the_same(build, batches, name):
    model = optimize_for_inference(build(name), torch.bfloat16)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    expected = detect(model, batches[0])
    for other in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        for x, y in zip(expected, detect(other, batches[0]), strict=True):
            assert torch.equal(x.scores, y.scores)
            assert torch.equal(x.pred_boxes.tensor, y.pred_boxes.tensor)


@pytest.mark.parametrize("dtype", [torch.float32, *LOW_PRECISION])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_detections_in_images_that_are_not_finite_are_finite(build, dtype, value):
    model = optimize_for_inference(build("BN"), dtype)
    images = torch.rand(2, 3, 64, 96)
    images[0, :, 20:30, 30:40] = value
    for x in detect(model, [{"image": image} for image in images]):
        assert x.scores.isfinite().all()
        assert x.pred_boxes.tensor.isfinite().all()


def test_other_modules_are_refused():
    with pytest.raises(TypeError, match="DenseDetector, not a Linear"):
        optimize_for_inference(nn.Linear(1, 1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.int8, "bfloat16"])
def test_other_types_are_refused(build, dtype):
    with pytest.raises(ValueError, match=rf"torch.float16, not {dtype}"):
        optimize_for_inference(build("tiny"), dtype)


def test_backbone_and_head_are_compiled_if_asked_for(build, monkeypatch):
    calls = []
    monkeypatch.setattr(nn.Module, "compile", lambda *args, **kwargs: calls.append((args, kwargs)))
    model = build("tiny")
    optimize_for_inference(model)
    assert calls == []
    model = optimize_for_inference(model, compile=True)
    dynamic = {"dynamic": True}
    assert calls == [((model.backbone,), dynamic), ((model.head,), dynamic)]


@pytest.mark.slow
def test_compiled_once_for_all_sizes(tiny_tood):
    model = randomize(tiny_tood(strides=(8, 16), head={"num_convs": 1})).eval()
    model.test_score_thresh = 0.0
    optimized = optimize_for_inference(model, compile=True)
    torch._dynamo.reset()
    counters.clear()

    def compare(*batch):
        assert_same_detections(detect(model, batch), detect(optimized, batch))

    for size in [(96, 128), (64, 192), (160, 160)]:
        compare(image(*size))
    num_graphs = counters["stats"]["unique_graphs"]
    assert num_graphs > 0
    for size in [(128, 96), (224, 64), (192, 192), (320, 256), (150, 333)]:
        compare(image(*size))
    assert counters["stats"]["unique_graphs"] == num_graphs


@pytest.mark.parametrize(
    ("capabilities", "auto", "warned"),
    [
        ({"avx2": True, "avx512_bf16": False}, torch.float32, True),
        ({"avx512_bf16": True}, torch.bfloat16, False),
        ({"amx_bf16": True}, torch.bfloat16, False),
        ({}, torch.float32, False),  # an older PyTorch does not tell
    ],
)
def test_bfloat16_is_for_cpus_that_have_it(monkeypatch, log, capabilities, auto, warned):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: capabilities, raising=False)
    cpu = torch.device("cpu")
    assert find_dtype("auto", cpu) is auto and find_dtype("float32", cpu) is torch.float32
    assert not log.text
    assert find_dtype("bfloat16", cpu) is torch.bfloat16
    assert ("float32 is faster" in log.text) == warned
    assert find_dtype("auto", torch.device("cuda")) is torch.bfloat16
