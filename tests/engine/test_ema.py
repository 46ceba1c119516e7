"""The average of the weights. All numbers are those of a batch norm with a single channel."""

import pytest
import torch
from torch import nn

from detectron2.checkpoint import DetectionCheckpointer
from tood_d2.checkpoint.training_checkpointer import TrainingCheckpointer, WeightsCheckpointer
from tood_d2.engine.ema import EMAHook, build_ema


@pytest.fixture
def model():
    return nn.BatchNorm1d(1)


def set_all(model, value):
    """Gives a value to every parameter and buffer."""
    with torch.no_grad():
        for x in model.state_dict().values():
            x.fill_(value)


def averages(ema, model, values):
    """The average of the weight after each of the model's values."""
    result = []
    for value in values:
        set_all(model, value)
        ema.update_parameters(model)
        result.append(ema.module.weight.item())
    return result


def test_the_first_update_copies_the_model(model):
    ema = build_ema(model, decay=0.9)
    assert averages(ema, model, [7]) == [7]


def test_warm_up(model):
    # After n = 1 and 2 updates (1 + n) / (10 + n) = 2/11 and 1/4 are kept:
    # 1 * 2/11 + 12 * 9/11 = 10 and 10 * 1/4 + 2 * 3/4 = 4.
    ema = build_ema(model, decay=0.9998)
    assert averages(ema, model, [1, 12, 2]) == pytest.approx([1, 10, 4])


def test_the_decay_is_reached(model):
    # From n = 2 on (1 + n) / (10 + n) is 1/4 and more, so 1/4 is kept: 4 * 1/4 + 0 * 3/4 = 1.
    ema = build_ema(model, decay=0.25)
    assert averages(ema, model, [1, 12, 2, 0, 5]) == pytest.approx([1, 10, 4, 1, 4])


def test_statistics_are_averaged_and_counters_copied(model):
    ema = build_ema(model, decay=0.9998)
    averages(ema, model, [1, 12])
    average = ema.module
    for x in (average.weight, average.bias, average.running_mean, average.running_var):
        assert x.item() == pytest.approx(10)
    assert average.num_batches_tracked.item() == 12


def test_the_average_is_apart_from_the_model(model):
    ema = build_ema(model, decay=0.9)
    averages(ema, model, [1])
    set_all(model, 3)
    assert ema.module.weight.item() == 1
    assert not ema.module.training and model.training
    assert not ema.module.weight.requires_grad and model.weight.requires_grad


def test_a_resumed_average_goes_on(model, tmp_path):
    ema = build_ema(model, decay=0.9998)
    averages(ema, model, [1, 12])
    TrainingCheckpointer(model, str(tmp_path), [], ema=ema).save("last")

    model = nn.BatchNorm1d(1)
    ema = build_ema(model, decay=0.9998)
    TrainingCheckpointer(model, str(tmp_path), [], ema=ema).load(str(tmp_path / "last.pth"))
    assert model.weight.item() == 12
    assert averages(ema, model, [2]) == pytest.approx([4])  # as in test_warm_up


def test_the_hook_follows_training_and_saves_plain_weights(model, steps, tmp_path):
    ema = build_ema(model, decay=0.9998)
    checkpointer = WeightsCheckpointer(ema.module, str(tmp_path), [])
    set_all(model, 3)
    steps(EMAHook(ema, model, checkpointer)).train(0, 4)
    assert ema.n_averaged == 4

    loaded = nn.BatchNorm1d(1)
    DetectionCheckpointer(loaded).load(str(tmp_path / "model_final_ema.pth"))
    assert loaded.weight.item() == loaded.running_mean.item() == 3
    assert loaded.num_batches_tracked.item() == 3


def test_no_file_without_an_update(model, steps, tmp_path):
    ema = build_ema(model, decay=0.9998)
    checkpointer = WeightsCheckpointer(ema.module, str(tmp_path), [])
    steps(EMAHook(ema, model, checkpointer)).train(0, 0)
    assert not list(tmp_path.iterdir())
