"""Weights that have to fit a model to the last parameter."""

import pytest
import torch
from torch import nn

from tood_d2.checkpoint import fetch_weights, load_weights
from tood_d2.checkpoint.training_checkpointer import TrainingCheckpointer


@pytest.fixture
def save(tmp_path):
    def _save(weights):
        torch.save({"model": weights}, tmp_path / "a.pth")
        return str(tmp_path / "a.pth")

    return _save


def test_the_model_gets_all_weights_and_is_in_evaluation_mode(save):
    path = save({"weight": torch.full((1, 1), 3.0), "bias": torch.zeros(1)})
    model = load_weights(nn.Linear(1, 1), path, "weights")
    assert model.weight.item() == 3 and not model.training


def test_parameters_that_do_not_fit_are_named(save):
    path = save({"0.weight": torch.ones(2, 2)})
    with pytest.raises(ValueError) as info:
        load_weights(nn.Sequential(*(nn.Linear(1, 1) for _ in range(4))), path, "model.weights")
    missing = "0.bias, 1.weight, 1.bias, 2.weight, 2.bias and 2 more, of another shape: 0.weight"
    expected = f"{path} (model.weights) does not fit the model: missing: {missing}. "
    assert str(info.value).startswith(expected)


def test_files_that_are_missing_or_not_given_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth \(model\.weights\): no such file"):
        load_weights(nn.Linear(1, 1), str(tmp_path / "nowhere.pth"), "model.weights")
    with pytest.raises(ValueError, match="give their file as model.weights"):
        load_weights(nn.Linear(1, 1), "", "model.weights")
    fetch_weights("", "model.weights")


def test_the_last_checkpoint_of_a_run_comes_first(save, tmp_path):
    path = save({"weight": torch.ones(1, 1), "bias": torch.ones(1)})
    assert load_weights(nn.Linear(1, 1), path, "k", str(tmp_path / "run")).bias.item() == 1
    (tmp_path / "run").mkdir()
    saved = nn.Linear(1, 1)
    TrainingCheckpointer(saved, str(tmp_path / "run"), []).save("model_0000001")
    loaded = load_weights(nn.Linear(1, 1), path, "k", str(tmp_path / "run"))
    assert torch.equal(loaded.bias, saved.bias)
