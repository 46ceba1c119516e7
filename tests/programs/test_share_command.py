"""The command line that shares a model."""

import os
import sys

import pytest
from script_runs import Command, run

pytest.importorskip("huggingface_hub", "1.0")
pytest.importorskip("safetensors")

from huggingface_hub import constants


def share(folder, *arguments):
    return run(Command(["tools/share.py", *map(str, arguments)]), folder)


def test_a_folder_is_written(detecting_model, shapes, tmp_path):
    pictures = ("--pictures", shapes / "val", "--license", "cc-by-4.0")
    outcome = share(tmp_path, detecting_model, "--output", "shared", *pictures)
    assert outcome.status == 0, outcome.output
    assert "shared: written; read its README.md before you pass it on" in outcome.output
    assert len(os.listdir(tmp_path / "shared")) == 6  # config, weights, card and three pictures
    card = (tmp_path / "shared" / "README.md").read_text()
    assert "license: cc-by-4.0" in card and 'from_pretrained("shared")' in card
    # Once more, it is not replaced.
    outcome = share(tmp_path, detecting_model, "--output", "shared")
    assert outcome.status == 2
    assert outcome.messages == [
        "share.py: shared: there are files in it, name an empty folder or a new one"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "new", "--license", "my own"], "share.py: --license my own: should be an"),
        (["--output", "new", "--pictures", "none.png"], "share.py: none.png: no such image"),
        (["--to", "a/b/c"], "share.py: a/b/c: neither a folder nor a name for a model"),
        (["--to", "me/model"], "share.py: me/model: there is no token, run 'hf auth login' or"),
        (["--output", "new", "--private"], "share.py: error: --private goes with --to"),
        ([], "share.py: error: one of the arguments --to --output is required"),
    ],
)
def test_faults_are_found_before_the_model_is_loaded(tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    outcome = share(tmp_path, "no_model", *arguments)
    assert outcome.status == 2 and len(outcome.messages) == 1
    assert outcome.messages[0].startswith(message)
    assert not (tmp_path / "new").exists()


def test_what_is_no_model_is_named(tmp_path):
    outcome = share(tmp_path, "no_model", "--output", "new")
    assert outcome.messages[0].startswith("share.py: no_model: no trained model, which is a folder")


@pytest.mark.parametrize("package", ["huggingface_hub", "safetensors"])
def test_missing_packages_are_named(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    outcome = share(tmp_path, "no_model", "--output", "new")
    (message,) = outcome.messages
    assert outcome.status == 2 and message.endswith(f"pip install {package}")
