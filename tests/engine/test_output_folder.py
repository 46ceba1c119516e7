"""What a run does with an output folder in which something is already."""

import json
import os
from pathlib import Path

import pytest

from tood_d2.config import load_run
from tood_d2.engine.output_folder import (
    check_output_folder,
    end_last_record,
    keeping_config,
    leave_earlier_run,
)

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "tood_R_18_FPN_small.py")


@pytest.fixture
def run(tmp_path):
    """A function for a run into a folder, by default a new one, with the images in data/."""
    (tmp_path / "data").mkdir()

    def _run(folder=tmp_path / "new" / "out"):
        images = f"dataset.train_images={tmp_path}/data"
        return load_run(CONFIG, ["train.device=cpu", images, f"train.output_dir={folder}"])

    return _run


def test_the_folder_is_made(run, tmp_path):
    check_output_folder(run())
    check_output_folder(run())
    assert os.listdir(tmp_path / "new" / "out") == []


@pytest.mark.parametrize(
    "name, message",
    [
        ("file", "a file of that name"),
        ("file/below", "Not a directory"),
        ("data", "images of dataset.train_images"),
        ("run.log", "not ending in .txt"),
    ],
)
def test_unfit_folders_are_named(run, tmp_path, name, message):
    (tmp_path / "file").touch()
    with pytest.raises(
        (OSError, ValueError), match=f"train.output_dir={tmp_path}/{name}: .*{message}"
    ):
        check_output_folder(run(tmp_path / name))
    assert not (tmp_path / "run.log").exists()


@pytest.mark.parametrize("path", ["", "s3://bucket/out"])
def test_other_than_local_folders_are_refused(run, path):
    with pytest.raises(ValueError, match=f"train.output_dir={path}: should be a folder"):
        check_output_folder(run(path))


def test_a_folder_that_cannot_be_written_to(run, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # as the user who tests may be root
    with pytest.raises(OSError, match="cannot be written to"):
        check_output_folder(run(tmp_path))


def test_another_run_is_announced_and_its_metrics_are_kept(run, tmp_path, log):
    leave_earlier_run(run(tmp_path))
    (tmp_path / "notes.json").touch()
    leave_earlier_run(run(tmp_path))
    assert not log.messages
    (tmp_path / "metrics.1.json").write_text("first")
    (tmp_path / "metrics.json").write_text("second")
    (tmp_path / "model_final.pth").touch()
    leave_earlier_run(run(tmp_path))
    (message,) = log.messages
    assert f"{tmp_path} holds another run (metrics.json, model_final.pth)" in message
    assert "kept as metrics.2.json" in message and "train.output_dir" in message
    assert (tmp_path / "metrics.1.json").read_text() == "first"
    assert (tmp_path / "metrics.2.json").read_text() == "second"
    assert not (tmp_path / "metrics.json").exists()


def test_a_config_that_is_replaced_is_kept_once(run, tmp_path):
    config = tmp_path / "config.yaml"
    for text in ("a", "b", "b", "a", "c"):
        with keeping_config(run(tmp_path)):
            config.write_text(text)
    assert config.read_text() == "c"
    kept = sorted(tmp_path.glob("config.*.yaml"))
    assert [(x.name, x.read_text()) for x in kept] == [
        ("config.1.yaml", "a"),
        ("config.2.yaml", "b"),
    ]


@pytest.mark.parametrize(
    "content, expected",
    [
        ('{"a": 1}\n{"a": 2, "b', '{"a": 1}\n'),
        ('{"a": 1}\n{"a": 2}', '{"a": 1}\n{"a": 2}\n'),  # whole, by an editor
        ('{"a": 1}\n', '{"a": 1}\n'),
        ('{"a', ""),
        ("", ""),
    ],
)
def test_half_a_record_is_removed(content, expected, tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(content)
    end_last_record(str(path))
    assert path.read_text() == expected
    with path.open("a") as file:
        file.write('{"a": 3}\n')
    assert json.loads(path.read_text().splitlines()[-1]) == {"a": 3}
    end_last_record(str(tmp_path / "nowhere.json"))
