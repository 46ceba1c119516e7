"""Checkpoints that are written in the background."""

import os
import threading

import pytest
import torch
from torch import nn

from detectron2.engine import hooks
from tood_d2.checkpoint import files
from tood_d2.checkpoint.files import BackgroundFiles
from tood_d2.checkpoint.training_checkpointer import TrainingCheckpointer


@pytest.fixture
def gate(monkeypatch):
    """Writing waits until this event is set, and fails if the event's ``error`` is."""
    event, write = threading.Event(), files._write
    event.error = None

    def wait(path, mode, buffer):
        assert event.wait(60)
        if event.error:
            raise event.error
        write(path, mode, buffer)

    monkeypatch.setattr(files, "_write", wait)
    yield event
    event.set()


@pytest.fixture
def checkpointer(tmp_path):
    net = nn.Linear(1, 1)
    nn.init.zeros_(net.weight)
    return TrainingCheckpointer(net, str(tmp_path), [], background=True)


def test_a_checkpoint_has_the_weights_of_its_moment(checkpointer, gate, tmp_path):
    checkpointer.save("model_0000000", iteration=0)
    nn.init.ones_(checkpointer.model.weight)
    assert os.listdir(tmp_path) == []
    assert checkpointer.get_checkpoint_file() == f"{tmp_path}/model_0000000.pth"
    gate.set()
    checkpointer.flush()
    content = torch.load(tmp_path / "model_0000000.pth", weights_only=True)
    assert content["model"]["weight"].item() == 0 and content["iteration"] == 0
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000000.pth"


def test_an_old_one_is_removed_after_the_new_one_is_written(checkpointer, gate, tmp_path):
    periodic = hooks.PeriodicCheckpointer(checkpointer, 1, max_iter=9, max_to_keep=1)
    periodic.max_iter = 9
    gate.set()
    periodic.step(0)
    checkpointer.flush()
    gate.clear()
    periodic.step(1)
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model_0000000.pth"]
    gate.set()
    checkpointer.flush()
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model_0000001.pth"]


def test_nothing_is_removed_for_one_that_cannot_be_written(checkpointer, gate, tmp_path):
    periodic = hooks.PeriodicCheckpointer(checkpointer, 1, max_iter=9, max_to_keep=1)
    periodic.max_iter = 9
    gate.set()
    periodic.step(0)
    checkpointer.flush()
    gate.error = OSError(28, "No space left on device")
    periodic.step(1)
    with pytest.raises(OSError, match="No space left"):
        periodic.step(2)
    with pytest.raises(OSError, match="No space left"):
        checkpointer.flush()
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model_0000000.pth"]
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000000.pth"


def test_one_that_fails_in_the_middle_is_not_written(tmp_path):
    background = BackgroundFiles()
    with pytest.raises(ZeroDivisionError), background.open(f"{tmp_path}/x", "wb") as file:
        file.write(b"1")
        1 / 0  # noqa: B018
    background.flush()
    assert os.listdir(tmp_path) == []


def test_text_and_reading(tmp_path):
    background = BackgroundFiles()
    with background.open(f"{tmp_path}/x", "w") as file:
        file.write("ä")
    background.flush()
    with background.open(f"{tmp_path}/x") as file:
        assert file.read() == "ä"
    background.rm(f"{tmp_path}/x")
    background.rm(f"{tmp_path}/x")
    background.flush()
    assert not background.exists(f"{tmp_path}/x")
