"""Training that is interrupted by signals."""

import os
import signal
import time

import pytest
import torch
from torch import nn

from detectron2.engine import HookBase
from tood_d2.checkpoint.training_checkpointer import TrainingCheckpointer
from tood_d2.engine.hooks.preemption import Interruption, PreemptionHook


class Send(HookBase):
    """Sends signals to this process in the step of an iteration."""

    def __init__(self, iteration, *numbers):
        self.iteration = iteration
        self.numbers = numbers

    def before_step(self):
        if self.trainer.iter == self.iteration:
            for number in self.numbers:
                os.kill(os.getpid(), number)


class Agree(HookBase):
    """What a step of training does: processes agree on the signal."""

    def __init__(self, interruption):
        self.interruption = interruption

    def after_step(self):
        self.interruption.agreed = self.interruption.received


@pytest.fixture
def build(steps, tmp_path):
    def _build(*hooks):
        checkpointer = TrainingCheckpointer(nn.Linear(1, 1), str(tmp_path), [])
        interruption = Interruption()
        return steps(*hooks, Agree(interruption), PreemptionHook(checkpointer, interruption))

    return _build


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_state_is_saved_after_the_step(build, tmp_path, number, log, capfd):
    handler = signal.getsignal(number)
    trainer = build(Send(3, number))
    with pytest.raises(SystemExit) as caught:
        trainer.train(0, 10)
    assert caught.value.code == 128 + number
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000003.pth"
    assert torch.load(tmp_path / "model_0000003.pth", weights_only=True)["iteration"] == 3
    assert f"{number.name}: training ends after iteration 3" in log.text
    assert f"{number.name}: training ends after this step" in capfd.readouterr().err
    assert signal.getsignal(number) is handler


def test_a_second_interrupt_ends_training_at_once(build, tmp_path):
    trainer = build(Send(3, signal.SIGINT, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        trainer.train(0, 10)
    assert os.listdir(tmp_path) == []


def test_repeated_sigterm_is_one(build):
    with pytest.raises(SystemExit):
        build(Send(3, signal.SIGTERM, signal.SIGTERM)).train(0, 10)


def test_the_last_step_is_no_interruption(build, tmp_path):
    build(Send(9, signal.SIGTERM)).train(0, 10)
    assert os.listdir(tmp_path) == []


class TestTime:
    def test_training_ends_in_order_when_it_is_up(self, steps, tmp_path, log, monkeypatch):
        hours = iter([0.0, 0.5, 0.9, 1.0, 1.1])  # of the start and of each step
        monkeypatch.setattr(time, "monotonic", lambda: 3600 * next(hours))
        checkpointer = TrainingCheckpointer(nn.Linear(1, 1), str(tmp_path), [])
        interruption = Interruption()
        hook = PreemptionHook(checkpointer, interruption, max_hours=1)
        with pytest.raises(SystemExit) as caught:
            steps(Agree(interruption), hook).train(0, 10)
        assert caught.value.code == 0
        assert (tmp_path / "last_checkpoint").read_text() == "model_0000002.pth"
        assert "1 hours: training ends after iteration 2" in log.text

    def test_a_signal_counts_for_more(self, steps, tmp_path):
        interruption = Interruption()
        checkpointer = TrainingCheckpointer(nn.Linear(1, 1), str(tmp_path), [])
        hook = PreemptionHook(checkpointer, interruption, max_hours=1e-9)
        with pytest.raises(SystemExit) as caught:
            steps(hook, Send(0, signal.SIGTERM), Agree(interruption)).train(0, 10)
        assert caught.value.code == 128 + signal.SIGTERM
