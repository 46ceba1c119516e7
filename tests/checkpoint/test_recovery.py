"""Which checkpoint a run is resumed from."""

import zipfile

import pytest
import torch

from tood_d2.checkpoint import SafeCheckpointer, load_weights
from tood_d2.checkpoint.recovery import (
    LastCheckpoint,
    check_classes,
    load_last_checkpoint,
    periodic_checkpoints,
)
from tood_d2.checkpoint.training_checkpointer import TrainingCheckpointer


@pytest.fixture
def folder(tmp_path):
    """Three checkpoints, of which ``last_checkpoint`` names the newest."""
    for iteration in (4, 9, 14):
        save(tmp_path / f"model_{iteration:07d}.pth", iteration)
    (tmp_path / "last_checkpoint").write_text("model_0000014.pth")
    torch.save({"model": {}}, tmp_path / "model_best.pth")
    return tmp_path


def save(path, iteration):
    weights = {"weight": torch.full((1000,), iteration)}
    state = {"iteration": iteration, "_trainer": {"optimizer": {}}}
    torch.save({"model": weights, "trainer": state}, path)


def found(folder):
    """Name and iteration of the last checkpoint; ``last_checkpoint`` has to name it."""
    path, content = load_last_checkpoint(str(folder))
    assert path == str(folder / (folder / "last_checkpoint").read_text())
    iteration = content["trainer"]["iteration"]
    assert (content["model"]["weight"] == iteration).all()
    return path.removeprefix(f"{folder}/"), iteration


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # amid the 8000 bytes of the tensor
    path.write_bytes(content)


def test_periodic_checkpoints_come_in_order(folder):
    names = [f"{folder}/model_{i:07d}.pth" for i in (4, 9, 14)]
    assert periodic_checkpoints(str(folder)) == names
    assert periodic_checkpoints(str(folder), before=14) == names[:2]
    assert periodic_checkpoints(str(folder / "no")) == []


def test_the_one_that_is_named_is_taken(folder, log):
    assert found(folder) == ("model_0000014.pth", 14)
    assert not log.records


def weights_alone(path):
    torch.save({"model": {"weight": torch.ones(1)}}, path)


def another_project(path):
    torch.save({"state_dict": {"weight": torch.ones(1)}, "optimizer": {}}, path)


def state_of_something_else(path):
    torch.save({"model": {"weight": torch.ones(1)}, "trainer": {"iteration": 14}}, path)


def no_weights(path):
    save(path, 14)
    torch.save(torch.load(path) | {"model": {}}, path)


def folder_of_that_name(path):
    path.unlink()
    path.mkdir()


def archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.txt", "a")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (truncate, "damaged"),
        (flip_a_bit, "damaged"),
        (archive, "no checkpoint"),
        (weights_alone, "lacks the state of training"),
        (another_project, "lacks the state of training"),
        (state_of_something_else, "lacks the state of training"),
        (no_weights, "lacks the state of training"),
        (folder_of_that_name, "no such file"),
        (lambda path: path.unlink(), "no such file"),
    ],
)
def test_an_unusable_one_gives_way_to_the_one_before(folder, spoil, reason, log):
    spoil(folder / "model_0000014.pth")
    assert found(folder) == ("model_0000009.pth", 9)
    assert f"Not resumed from {folder}/model_0000014.pth: " in log.text
    assert reason in log.text and f"Taking {folder}/model_0000009.pth" in log.text


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"model_0000099.pth"])
def test_without_a_name_that_helps_the_newest_is_taken(folder, content):
    (folder / "last_checkpoint").unlink()
    if content is not None:
        (folder / "last_checkpoint").write_bytes(content)
    assert found(folder) == ("model_0000014.pth", 14)


def test_checkpoints_of_an_earlier_run_are_no_substitute(folder):
    (folder / "last_checkpoint").write_text("model_0000009.pth")
    truncate(folder / "model_0000009.pth")
    assert found(folder) == ("model_0000004.pth", 4)


def test_the_final_checkpoint_is_the_last(folder):
    save(folder / "model_final.pth", 19)
    (folder / "last_checkpoint").write_text("model_final.pth")
    assert found(folder) == ("model_final.pth", 19)
    truncate(folder / "model_final.pth")
    assert found(folder) == ("model_0000014.pth", 14)


def test_a_name_does_not_lead_out_of_the_folder(folder):
    (folder / "last_checkpoint").write_text("../../other/model_0000014.pth")
    assert load_last_checkpoint(str(folder)).path == f"{folder}/model_0000014.pth"


@pytest.mark.parametrize("written", ["/there/out/model_0000009.pth\n", r"C:\out\model_0000009.pth"])
def test_the_name_may_come_with_the_folder_of_another_machine(folder, written):
    (folder / "last_checkpoint").write_text(written)
    path = str(folder / "model_0000009.pth")
    assert load_last_checkpoint(str(folder)).path == path
    assert SafeCheckpointer(torch.nn.Linear(1, 1), str(folder)).get_checkpoint_file() == path


def test_a_name_that_is_empty_leads_to_no_file(tmp_path):
    (tmp_path / "last_checkpoint").touch()
    assert load_last_checkpoint(str(tmp_path)) is None
    net = torch.nn.Linear(1, 1)
    assert SafeCheckpointer(net, str(tmp_path)).get_checkpoint_file() == ""
    with pytest.raises(ValueError, match="no trained weights: give their file as KEY"):
        load_weights(net, "", "KEY", resume_dir=str(tmp_path))
    TrainingCheckpointer(net, str(tmp_path), []).resume_or_load("", resume=True)  # starts anew


def test_other_classes_are_named(tmp_path):
    last = LastCheckpoint("model_final.pth", {"class_names": ["cat", "dog"]})
    check_classes(last, ["cat", "dog"])
    check_classes(last, [])
    message = r"model_final.pth has the classes cat, dog, but this run has dog, cat"
    with pytest.raises(ValueError, match=message):
        check_classes(last, ["dog", "cat"])


def test_if_all_are_unusable_the_message_says_what_to_do(folder):
    for i, spoil in ((4, truncate), (9, weights_alone), (14, archive)):
        spoil(folder / f"model_{i:07d}.pth")
    with pytest.raises(ValueError) as info:
        load_last_checkpoint(str(folder))
    message = str(info.value)
    assert "14.pth: no checkpoint" in message and "09.pth: lacks the state of training" in message
    assert "To start anew, remove" in message and "train.init_checkpoint" in message


def test_no_checkpoint(tmp_path):
    assert load_last_checkpoint(str(tmp_path)) is None
    assert load_last_checkpoint(str(tmp_path / "no")) is None
