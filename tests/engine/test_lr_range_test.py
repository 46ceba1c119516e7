"""The learning rate that a rising one suggests."""

import numpy as np
import pytest
import torch

from tood_d2.config import load_run, register_datasets
from tood_d2.engine.lr_range_test import draw_losses, measure_losses, smooth, suggest_rate

RATES = np.geomspace(1e-5, 1e-1, 101)  # the step 50 has 1e-3


def test_half_of_the_rate_of_the_lowest_loss():
    # A valley whose sides are alike: smoothing leaves its lowest place, at the step 75, 1e-2.
    losses = 1 + np.abs(np.arange(101) - 75) / 75
    assert suggest_rate(RATES, losses) == pytest.approx(5e-3)
    # Neither a single low loss nor the height of all of them changes it much.
    losses[20] = 0.2
    assert suggest_rate(RATES, 10 + losses) == pytest.approx(5e-3)


def test_smoothing():
    assert smooth(np.full(50, 3.0)) == pytest.approx(3)
    # A kernel of one step's width: exp(-1/2) / (1 + 2 exp(-1/2) + 2 exp(-2) + ...) = 0.2420.
    spike = np.zeros(21)
    spike[10] = 1
    assert smooth(spike)[[9, 10, 11]] == pytest.approx([0.2420, 0.3989, 0.2420], abs=1e-4)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (np.linspace(1, 2, 101), "does not fall from a learning rate of 1e-05.*lower --lowest"),
        (np.array([]), "does not fall"),
        (np.linspace(2, 1, 101), "still falls at a learning rate of 0.1: try a higher --highest"),
    ],
)
def test_losses_without_a_lowest_place(losses, message):
    with pytest.raises(ValueError, match=message):
        suggest_rate(RATES, losses)


def test_the_picture_names_the_rate():
    (ax,) = draw_losses(RATES, np.ones(101), 5e-3).axes
    assert ax.get_legend().get_texts()[-1].get_text() == "suggestion: 5.0e-03"


@pytest.fixture
def run(tiny_overrides):
    torch.manual_seed(0)
    return register_datasets(load_run("tood_R_18_FPN_tiny", tiny_overrides))


def test_rates_rise_and_no_file_is_left(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rates, losses = measure_losses(run, 1e-6, 1e-3, 20)
    assert rates[[0, -1]] == pytest.approx([1e-6, 1e-3])
    assert rates[1:] / rates[:-1] == pytest.approx(1000 ** (1 / 19))
    assert len(losses) == 20 and losses[-5:].mean() < losses[:5].mean()
    assert list(tmp_path.iterdir()) == []


def test_a_loss_without_measure_ends_it(run):
    rates, losses = measure_losses(run, 1e-3, 1e6, 30)
    assert len(rates) == len(losses) < 30 and np.isfinite(losses).all()


@pytest.mark.parametrize("settings", [(0, 1, 30), (1, 1, 30), (1e-5, 1, 19)])
def test_a_range_that_is_none(run, settings):
    with pytest.raises(ValueError, match="the learning rate cannot rise from"):
        measure_losses(run, *settings)
