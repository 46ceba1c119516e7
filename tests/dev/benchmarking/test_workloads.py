"""Random inputs are inside the image and resemble real ones; each call gets what it needs."""

import pytest
import torch
from benchmarking.contenders import parse_contenders
from benchmarking.workloads import WORKLOADS, Point, random_instances, random_predictions

from detectron2.modeling import RetinaNet
from detectron2.structures import Boxes, pairwise_iou
from tood_d2.modeling import TOOD, TaskAlignedAssigner

CPU = torch.device("cpu")
TOOD_CONFIG = "configs/tood_R_18_FPN_small.py model.head.num_convs=1"


@pytest.fixture
def make(monkeypatch, request):
    """Makes the call of a benchmark for a contender's text at a point."""
    monkeypatch.chdir(request.config.rootpath)
    # Tracing takes seconds.
    monkeypatch.setattr(
        "benchmarking.workloads.count_flops", lambda model, height, width: {"": height * width}
    )

    def _make(command, text, point):
        (contender,) = parse_contenders([text], CPU)
        return WORKLOADS[command](contender)(point)

    return _make


def test_exported_models_are_given_their_requests(make, monkeypatch):
    given = []

    def load(*args):
        given.append(args)
        return lambda batch: given.append(len(batch))

    monkeypatch.setattr("benchmarking.workloads.load_exported", load)
    make("inference", "a.xml --requests 4", Point((32, 32), batch=8))()
    make("inference", "a.xml --optimize --dtype bfloat16", Point((32, 32)))()
    make("inference", "a.onnx", Point((32, 32)))()
    assert given == [("a.xml", 4, None), 8, ("a.xml", 1, "bfloat16"), 1, ("a.onnx", 1, None), 1]


def test_preparation_gives_the_input_of_the_network(make):
    call = make("preparation", TOOD_CONFIG, Point((96, 128)))
    found = call.run()
    # The config's shorter side is 240 pixels.
    assert found["image"].shape == (3, 240, 320) and found["image"].dtype == torch.uint8
    assert (found["height"], found["width"]) == (96, 128)


def test_files_are_detected_in_one_after_the_other(make, monkeypatch):
    read = []

    class Predictor:
        def __init__(self, *args):
            read.append(args)

        def detect_all(self, images):
            return map(read.append, (x.shape for x in images))

    monkeypatch.setattr("benchmarking.workloads.ExportedPredictor", Predictor)
    assert len(make("files", "a.xml --requests 2", Point((64, 96), batch=3)).run()) == 3
    assert read == [("a.xml", 2), *[(64, 96, 3)] * 3]
    with pytest.raises(ValueError, match="files are for exported models"):
        make("files", TOOD_CONFIG, Point((64, 96)))


@pytest.mark.parametrize("size", [(800, 1344), (64, 200), (16, 16)])
def test_objects_are_anywhere_and_of_any_size(size):
    gt = random_instances(2000, size, 7, torch.Generator().manual_seed(0))
    boxes = gt.gt_boxes.tensor
    assert gt.image_size == size
    assert boxes.min() >= 0
    assert boxes[:, 2].max() <= size[1] + 1e-3 and boxes[:, 3].max() <= size[0] + 1e-3
    sides = boxes[:, 2:] - boxes[:, :2]
    longest = min(size) / 2
    assert sides.min() > 8 - 1e-3 and sides.max() < longest + 1e-3
    # Uniform in the logarithm: half of the sides are below the geometric mean.
    assert (sides <= (8 * longest) ** 0.5 + 1e-3).float().mean() > 0.45
    assert gt.gt_classes.unique().tolist() == list(range(7))


def test_predictions_approach_objects(anchor_generator):
    random = torch.Generator().manual_seed(0)
    maps = [torch.zeros(1, 1, 256 // stride, 256 // stride) for stride in (8, 16, 32, 64, 128)]
    anchors = Boxes.cat(anchor_generator()(maps))
    gt_boxes = random_instances(20, (256, 256), 3, random).gt_boxes
    best = pairwise_iou(gt_boxes, random_predictions(anchors, gt_boxes, random)).amax(dim=1)
    assert best.mean() > 0.6 > 0.4 > pairwise_iou(gt_boxes, anchors).amax(dim=1).mean()


def test_flops_grow_with_the_batch(make):
    assert make("inference", TOOD_CONFIG, Point((32, 64), batch=3)).flops == 3 * 32 * 64


def test_autocast(make, monkeypatch):
    types = []
    monkeypatch.setattr(
        TOOD,
        "forward",
        lambda self, batch: types.append(
            torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu")
        ),
    )
    for options in ("", " --dtype bfloat16", " --dtype bfloat16 --optimize"):
        make("inference", TOOD_CONFIG + options, Point((32, 32)))()
    assert types == [False, torch.bfloat16, False]  # an optimised model has its own type


def test_optimization(make, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "benchmarking.workloads.optimize_for_inference",
        lambda model, *options: calls.append((model.training, *options)),
    )
    make("inference", f"{TOOD_CONFIG} --optimize", Point((32, 32)))
    make("inference", f"{TOOD_CONFIG} --optimize --compile --dtype bfloat16", Point((32, 32)))
    assert calls == [(False, torch.float32, False), (False, torch.bfloat16, True)]


@pytest.mark.parametrize("iters, initial", [(100, False), (-1, True)])
def test_training_leaves_the_initial_phase_unless_it_has_no_end(make, monkeypatch, iters, initial):
    seen = []
    forward_training = TOOD.forward_training

    def spy(self, images, anchors, predictions, gt_instances, initial_phase):
        seen.append((initial_phase, self, gt_instances))
        return forward_training(self, images, anchors, predictions, gt_instances, initial_phase)

    monkeypatch.setattr(TOOD, "forward_training", spy)
    overrides = f" model.initial_phase_iters={iters} model.num_classes=3"
    call = make("training", TOOD_CONFIG + overrides, Point((32, 32), batch=2, objects=9))
    call()
    ((phase, model, gt_instances),) = seen
    assert phase == initial
    assert [len(x) for x in gt_instances] == [9, 9]
    assert all((x.gt_classes < 3).all() for x in gt_instances)
    assert all(x.grad is None for x in model.parameters())


def test_training_leaves_the_weights(make, monkeypatch):
    models = []
    original = TOOD.__init__
    monkeypatch.setattr(
        TOOD, "__init__", lambda self, **kw: (original(self, **kw), models.append(self))[0]
    )
    call = make("training", TOOD_CONFIG, Point((32, 32), batch=2, objects=2))
    (model,) = models
    before = {name: x.clone() for name, x in model.named_parameters()}
    call()
    assert all(x.equal(before[name]) for name, x in model.named_parameters())


def test_arguments_of_the_assigner(make, monkeypatch):
    seen = []
    original = TaskAlignedAssigner.__call__

    def spy(self, *args):
        seen.extend((*args, original(self, *args)[0]))

    monkeypatch.setattr(TaskAlignedAssigner, "__call__", spy)
    make("assignment", TOOD_CONFIG, Point((800, 1344), objects=10))()
    pred_scores, pred_boxes, anchors, gt_boxes, gt_classes, matched_idxs = seen
    # 100 x 168 + 50 x 84 + 25 x 42 + 13 x 21 + 7 x 11
    assert pred_scores.shape == (22400, 80)
    assert len(pred_boxes) == len(anchors) == 22400
    assert len(gt_boxes) == len(gt_classes) == 10
    assert len(matched_idxs.unique()) == 11  # each object is matched, and background


def test_every_call_of_postprocessing_has_the_same_predictions(make, monkeypatch):
    """Detectron2's detectors change them in place."""
    seen = []
    original = RetinaNet.forward_inference

    def spy(self, images, features, predictions):
        seen.append(predictions[0][0].clone())
        predictions[0][0].zero_()
        assert (seen[-1].sigmoid() > 0.05).float().mean() < 0.01
        return original(self, images, features, predictions)

    monkeypatch.setattr(RetinaNet, "forward_inference", spy)
    config = "configs/ablations/retinanet_R_18_FPN_small.py"
    call = make("postprocessing", config, Point((64, 64)))
    call()
    call.time()
    assert len(seen) == 3 and all(x.equal(seen[0]) for x in seen)


@pytest.mark.parametrize(
    "command, text, error",
    [
        (
            "assignment",
            "configs/ablations/retinanet_R_18_FPN_small.py",
            "RetinaNet has no assigner",
        ),
        ("training", "model.onnx", "inference alone"),
    ],
)
def test_contenders_that_are_not_fit(make, command, text, error):
    with pytest.raises(ValueError, match=error):
        make(command, text, Point((32, 32)))
