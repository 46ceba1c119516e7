"""Which checkpoint a run is resumed from."""

import pytest
import torch

from tood_d2.checkpoint.recovery import (
    is_whole,
    periodic_checkpoints,
    recover_checkpoint,
    saved_seed,
)


@pytest.fixture
def folder(tmp_path):
    """Three checkpoints, of which ``last_checkpoint`` names the newest."""
    for iteration in (4, 9, 14):
        content = {"model": {"weight": torch.full((1000,), iteration)}, "seed": iteration}
        torch.save(content, tmp_path / f"model_{iteration:07d}.pth")
    (tmp_path / "last_checkpoint").write_text("model_0000014.pth")
    torch.save({"model": {}}, tmp_path / "model_best.pth")
    return tmp_path


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


def test_the_one_that_is_named(folder, log):
    assert recover_checkpoint(str(folder)) == f"{folder}/model_0000014.pth"
    assert not log.records


@pytest.mark.parametrize("damage", [truncate, flip_a_bit])
def test_a_damaged_one_gives_way_to_the_one_before(folder, damage, log):
    damage(folder / "model_0000014.pth")
    assert not is_whole(str(folder / "model_0000014.pth"))
    assert recover_checkpoint(str(folder)) == f"{folder}/model_0000009.pth"
    assert (folder / "last_checkpoint").read_text() == "model_0000009.pth"
    assert f"Damaged: {folder}/model_0000014.pth. Taking {folder}/model_0000009.pth" in log.text


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"model_0000099.pth"])
def test_without_a_name_that_helps(folder, content):
    (folder / "last_checkpoint").unlink()
    if content is not None:
        (folder / "last_checkpoint").write_bytes(content)
    assert recover_checkpoint(str(folder)) == f"{folder}/model_0000014.pth"
    assert (folder / "last_checkpoint").read_text() == "model_0000014.pth"


def test_checkpoints_of_an_earlier_run_are_no_substitute(folder):
    (folder / "last_checkpoint").write_text("model_0000009.pth")
    truncate(folder / "model_0000009.pth")
    assert recover_checkpoint(str(folder)) == f"{folder}/model_0000004.pth"


def test_a_complete_run(folder):
    torch.save({"model": {}}, folder / "model_final.pth")
    (folder / "last_checkpoint").write_text("model_final.pth")
    assert recover_checkpoint(str(folder)) == f"{folder}/model_final.pth"
    truncate(folder / "model_final.pth")
    assert recover_checkpoint(str(folder)) == f"{folder}/model_0000014.pth"


def test_a_name_does_not_lead_out_of_the_folder(folder):
    (folder / "last_checkpoint").write_text("../../other/model_0000014.pth")
    assert recover_checkpoint(str(folder)) == f"{folder}/model_0000014.pth"


def test_all_damaged(folder):
    for path in folder.glob("model_00*.pth"):
        truncate(path)
    with pytest.raises(ValueError, match="damaged checkpoints: .*14.pth, .*09.pth, .*04.pth"):
        recover_checkpoint(str(folder))


def test_no_checkpoint(tmp_path):
    assert recover_checkpoint(str(tmp_path)) == ""
    assert recover_checkpoint(str(tmp_path / "no")) == ""


def test_the_seed(folder):
    assert saved_seed(f"{folder}/model_0000009.pth") == 9
    assert saved_seed(f"{folder}/model_best.pth") is None
