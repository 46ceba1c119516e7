"""Files that are written whole or not at all."""

import os
import resource
import signal

import pytest
import torch

from tood_d2.checkpoint.atomic import atomic_write, remove_unfinished


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file.pth"
    path.write_text("old")
    return path


def test_the_new_file_replaces_the_old_one_in_the_end(path):
    with atomic_write(str(path), "w") as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["file.pth"]


def test_a_failure_leaves_the_old_file_and_nothing_else(path):
    with pytest.raises(ZeroDivisionError), atomic_write(str(path)) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["file.pth"]


def test_a_missing_folder(tmp_path):
    message = r"cannot be written \(No such file or directory\)"
    with pytest.raises(OSError, match=message), atomic_write(str(tmp_path / "no" / "file")):
        pass


def test_a_full_disk(path):
    """PyTorch's writer hides the system's error behind one of its own."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
        message = "cannot be written .*still whole"
        with pytest.raises(OSError, match=message) as caught, atomic_write(str(path)) as file:
            torch.save(torch.zeros(1 << 20), file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["file.pth"]


def test_errors_of_others_stay_what_they_are(path):
    with pytest.raises(RuntimeError, match="shapes"), atomic_write(str(path)):
        raise RuntimeError("shapes")


def test_what_a_killed_process_leaves_is_removed(tmp_path):
    path = tmp_path / "model_0000009.pth"
    path.write_text("old")
    pid = os.fork()
    if pid == 0:
        with atomic_write(str(path)) as file:
            file.write(b"half")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert path.read_text() == "old" and len(os.listdir(tmp_path)) == 2
    remove_unfinished(str(tmp_path))
    assert os.listdir(tmp_path) == ["model_0000009.pth"]


def test_only_unfinished_files_are_removed(tmp_path):
    others = ["my_notes.2024.tmp", "model_best.pth.12.tmp", ".tood_d2-notes.tmp", "last.1.tmp"]
    for name in [f".tood_d2-{'0f' * 16}.tmp", *others]:
        (tmp_path / name).touch()
    remove_unfinished(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == sorted(others)
    remove_unfinished(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_not_replaced(path, make):
    path.unlink()
    make(path)
    with pytest.raises(FileExistsError, match="no file"), atomic_write(str(path)) as file:
        file.write(b"new")
    assert not path.is_file() and len(os.listdir(path.parent)) == 1
