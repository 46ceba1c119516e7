"""Hooks that go with evaluation, in trainers that do nothing else."""

import math
from itertools import count

import pytest
import torch
from torch import nn

from detectron2.structures import Boxes, Instances
from detectron2.utils.events import get_event_storage
from tood_d2.checkpoint.training_checkpointer import WeightsCheckpointer
from tood_d2.engine.hooks import evaluation as evaluation_hooks
from tood_d2.engine.hooks.evaluation import (
    BestWeights,
    EarlyStopping,
    EvaluationHook,
    EvaluationListener,
    PredictionPictures,
    StopTraining,
    ValidationLoss,
    mean_losses,
)


class Recorder(EvaluationListener):
    """Remembers the iterations of its calls and what it is told."""

    def __init__(self):
        self.calls = []

    def before_train(self, trainer):
        self.calls.append("before")

    def evaluated(self, trainer, results):
        self.calls.append((trainer.iter, results))


@pytest.mark.parametrize(
    ("period", "iterations"), [(0, [6]), (1, [0, 1, 2, 3, 4, 6]), (2, [1, 3, 6]), (7, [6])]
)
def test_listeners_hear_of_each_evaluation(steps, period, iterations):
    values, recorders = count(), [Recorder(), Recorder()]
    hook = EvaluationHook(period, lambda: {"bbox": {"AP": next(values)}}, recorders)
    steps(hook).train(0, 6)
    expected = ["before", *((x, {"bbox/AP": i}) for i, x in enumerate(iterations))]
    assert recorders[0].calls == recorders[1].calls == expected


def test_no_evaluation_after_a_failure(steps):
    recorder = Recorder()
    with pytest.raises(RuntimeError, match="as intended"):
        steps(EvaluationHook(2, dict, [recorder]), fails_at=3).train(0, 6)
    assert recorder.calls == ["before", (1, {})]


class Norm(nn.Module):
    """Losses are the mean of the batch and the iteration, in training mode only."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(1)
        self.frozen = nn.BatchNorm1d(1).eval()

    def forward(self, batch):
        assert self.training
        self.norm(batch), self.frozen(batch)
        storage = get_event_storage()
        storage.put_scalar("[metric] of the model", 1.0)
        return {"loss_cls": batch.mean(), "loss_box_reg": torch.tensor(float(storage.iter))}


BATCHES = [torch.full((2, 1), x) for x in (1.0, 2.0, 6.0)]


def test_validation_loss(steps):
    model = Norm()
    trainer = steps(EvaluationHook(2, dict, [ValidationLoss(model, lambda: BATCHES)]))
    trainer.train(0, 5)
    history = {name: x.values() for name, x in trainer.storage.histories().items()}
    # After the iterations 1 and 3, and at the end, which is iteration 5.
    assert history.pop("validation/loss_cls") == [(3, 1), (3, 3), (3, 5)]  # (1 + 2 + 6) / 3
    assert history.pop("validation/loss_box_reg") == [(1, 1), (3, 3), (5, 5)]
    assert history.pop("validation/total_loss") == [(4, 1), (6, 3), (8, 5)]
    assert not history  # nothing of the model's own
    # Statistics and modes are as before.
    assert model.norm.running_mean == 0 and model.norm.num_batches_tracked == 0
    assert model.training and model.norm.training and not model.frozen.training


def test_validation_loss_without_data(steps):
    trainer = steps(EvaluationHook(1, dict, [ValidationLoss(Norm(), list)]))
    trainer.train(0, 2)
    assert not trainer.storage.histories()


def test_validation_loss_of_several_processes(monkeypatch):
    others = {"loss_cls": 5.0, "loss_box_reg": 7.0}
    monkeypatch.setattr(evaluation_hooks.comm, "all_gather", lambda own: [own, others])
    # (3 + 5) / 2 and (7 + 7) / 2
    assert mean_losses(Norm(), BATCHES, 7) == {"loss_cls": 4, "loss_box_reg": 7}


def test_validation_loss_has_the_phase_of_its_iteration(tiny_tood):
    model = tiny_tood(initial_phase_iters=3)
    batch = [{"image": torch.zeros(3, 64, 96), "instances": ground_truth()}]
    losses = [mean_losses(model, [batch], iteration) for iteration in (0, 2, 3, 4)]
    assert losses[0] == losses[1] != losses[2] == losses[3]
    assert all(p.grad is None for p in model.parameters())


def ground_truth():
    instances = Instances((64, 96))
    instances.gt_boxes = Boxes(torch.tensor([[8.0, 6.0, 50.0, 44.0]]))
    instances.gt_classes = torch.tensor([1])
    return instances


@pytest.fixture
def train(steps, tmp_path):
    """Evaluates each second iteration, with the given values of AP, and keeps the best.

    The weight of the model is the number of evaluations so far.
    """

    def _train(values, patience=None, start=0, end=None):
        model, numbers = nn.Linear(1, 1, bias=False), count(1)
        values = iter(values)

        def evaluate():
            nn.init.constant_(model.weight, next(numbers))
            return {"bbox": {"AP": next(values)}}

        best = BestWeights(WeightsCheckpointer(model, str(tmp_path), ["cat"]), "bbox/AP")
        stopping = [] if patience is None else [EarlyStopping(best, patience, 2, {})]
        trainer = steps(EvaluationHook(2, evaluate, [best, *stopping]))
        trainer.best = best
        trainer.stopped = False
        try:
            trainer.train(start, end)
        except StopTraining:
            trainer.stopped = True
        return trainer

    return _train


@pytest.fixture
def saved(tmp_path):
    """Reads the best AP, its iteration and the number of its evaluation from the file."""

    def _saved():
        content = torch.load(tmp_path / "model_best.pth", weights_only=True)
        return content["best"], content["iteration"], content["model"]["weight"].item()

    return _saved


def test_the_best_checkpoint_is_kept(train, saved, log, tmp_path):
    train([10.0, 30.0, 20.0, 30.0], end=8)  # the first of equals
    assert saved() == (30.0, 3, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["model_best.pth"]
    assert "Best bbox/AP so far: 30.0000, saved as model_best.pth" in log.text


def test_the_last_evaluation_may_be_the_best(train, saved):
    train([10.0, 20.0, 30.0], end=5)  # after iterations 1 and 3, and at the end
    assert saved() == (30.0, 5, 3)


def test_nan_is_never_the_best(train, saved, tmp_path):
    train([math.nan], end=1)
    assert not list(tmp_path.iterdir())
    train([math.nan, 10.0, math.nan], end=6)
    assert saved() == (10.0, 3, 2)


def test_a_resumed_run_compares_with_the_file(train, saved):
    train([30.0], end=1)
    assert train([20.0, 20.0], start=1, end=4).best.best == 30
    assert saved() == (30.0, 1, 1)
    train([20.0, 40.0], start=1, end=4)
    assert saved() == (40.0, 4, 2)


def test_a_new_run_ignores_the_file(train, saved):
    train([30.0], end=1)
    train([20.0], end=1)
    assert saved() == (20.0, 1, 1)


def test_another_metric_is_no_rival(train, saved, tmp_path):
    torch.save({"metric": "ema/bbox/AP", "best": 90.0, "iteration": 7}, tmp_path / "model_best.pth")
    train([20.0], start=1, end=2)
    assert saved()[0] == 20


def test_a_process_without_results(steps, tmp_path):
    best = BestWeights(WeightsCheckpointer(nn.Linear(1, 1), str(tmp_path), []), "bbox/AP")
    trainer = steps(EvaluationHook(1, dict, [best, EarlyStopping(best, 1, 1, {})]))
    trainer.train(0, 3)
    assert trainer.iter == 3 and not list(tmp_path.iterdir())


def test_early_stopping(train, log):
    # The best is that of iteration 3; no better one after the iterations 5, 7 and 9.
    trainer = train([10.0, 30.0, 20.0, 30.0, math.nan, 40.0], patience=3, end=20)
    assert trainer.stopped and trainer.iter == 9
    assert (
        "3 evaluations without a better bbox/AP than that of iteration 3: training ends at 9"
        in log.text
    )


def test_better_values_keep_training_going(train):
    trainer = train([10.0, 5.0, 11.0, 5.0, 12.0], patience=2, end=10)
    assert not trainer.stopped and trainer.iter == 10


def test_the_last_iteration_is_no_early_stop(train):
    # Two evaluations without a better AP, of which the second is the last anyway.
    trainer = train([10.0, 5.0, 5.0], patience=2, end=6)
    assert not trainer.stopped and trainer.iter == 6


def test_no_early_stop_before_the_first_value(train):
    trainer = train([math.nan] * 5, patience=2, end=10)
    assert not trainer.stopped


def test_a_resumed_run_goes_on_waiting(train):
    train([30.0, 20.0], end=4)  # the best is that of iteration 1
    trainer = train([20.0] * 8, patience=3, start=4, end=20)
    # No better one at the end of the first run (it stands for iteration 3), after 5 and 7.
    assert trainer.stopped and trainer.iter == 7


@pytest.mark.parametrize("input_format", ["RGB", "BGR"])
def test_pictures(steps, tiny_tood, input_format):
    model = tiny_tood(test_score_thresh=0.0, input_format=input_format)
    image = torch.zeros(3, 64, 96, dtype=torch.uint8)
    image[0] = 200  # red or blue
    batches = [
        [{"image": image, "instances": ground_truth(), "image_id": i, "height": 640, "width": 960}]
        for i in (7, 8, 9)
    ]
    pictures = PredictionPictures(model, lambda: batches, 2, ["cat", "dog", "cow"])
    trainer = steps(EvaluationHook(2, dict, [pictures]))
    trainer.train(0, 3)
    # After iteration 1 and at the end.
    pictures = trainer.storage._vis_data
    assert [(name, step) for name, _, step in pictures] == [
        ("image 7", 1),
        ("image 8", 1),
        ("image 7", 3),
        ("image 8", 3),
    ]
    for _, picture, _ in pictures:
        assert picture.shape == (3, 64, 2 * 96) and picture.dtype == "uint8"
        red, _, blue = picture[:, -1, -1]  # a corner without boxes
        assert (red, blue) == ((200, 0) if input_format == "RGB" else (0, 200))
        # The ground truth, which no detection hides, is drawn at x = 8, y = 25.
        assert (picture[:, 25, 96 + 8] != picture[:, -1, -1]).any()
    assert model.training


def test_pictures_of_grey_images(steps, tiny_tood):
    model = tiny_tood(pixel_mean=[128.0], pixel_std=[50.0])  # "RGB", as the mapper decides
    model.backbone.convs[0] = torch.nn.Conv2d(1, 64, 8, 8)
    image = torch.full((1, 64, 96), 77, dtype=torch.uint8)
    sample = {"image": image, "instances": ground_truth(), "image_id": 7}
    pictures = PredictionPictures(model, lambda: [[sample]], 1, ["cat", "dog", "cow"])
    trainer = steps(EvaluationHook(0, dict, [pictures]))
    trainer.train(0, 1)
    ((_, picture, _),) = trainer.storage._vis_data
    assert picture.shape == (3, 64, 2 * 96) and picture[:, -1, -1].tolist() == [77] * 3


def test_pictures_of_a_model_in_evaluation_mode(steps, tiny_tood):
    model = tiny_tood().eval()
    sample = {"image": torch.zeros(3, 64, 96), "instances": ground_truth(), "image_id": 7}
    pictures = PredictionPictures(model, lambda: [[sample]], 5, ["cat", "dog", "cow"])
    trainer = steps(EvaluationHook(0, dict, [pictures]))
    trainer.train(0, 1)
    assert len(trainer.storage._vis_data) == 1
    assert not model.training
