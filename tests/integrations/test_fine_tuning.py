"""Training beside a server: what becomes of it, whether it ends well or not."""

import shutil
import threading
from pathlib import Path

import pytest

from tood_d2.config import load_run
from tood_d2.inference import find_trained_model
from tood_d2.integrations.fine_tuning import CONSOLE, FineTuning, training_overrides

ROOT = Path(__file__).resolve().parents[2]
SMALL = str(ROOT / "configs" / "tood_R_18_FPN_small.py")


@pytest.fixture
def tuning(tmp_path):
    """Makes a FineTuning of the small config with overrides."""

    def make(*overrides):
        arguments = ["--config-file", SMALL, *overrides]
        return FineTuning(tmp_path / "runs", load_run(SMALL, overrides), arguments)

    return make


def wait(tuning):
    assert tuning._busy.acquire(timeout=120)
    tuning._busy.release()


@pytest.mark.parametrize(
    ("config", "given"),
    [
        (SMALL, ["dataset.train_json=a.json", "dataset.train_images=images"]),
        ("tood_R_50_FPN_1x.yaml", ["DATASETS.TRAIN_JSON", "a.json"]),
    ],
)
def test_other_data_take_the_place_of_the_config_s(config, given):
    run = load_run(config, given)
    assert run.options.train_json == "a.json"
    options = load_run(config, [*given, *training_overrides(run, "my data", "out")]).options
    assert (options.source, options.output_dir) == ("my data", "out")
    assert not any((options.train_json, options.train_images, options.test_json))


@pytest.mark.slow
def test_a_model_is_trained_and_used(tuning, shapes, tiny_overrides):
    others = [x for x in tiny_overrides if not x.startswith("dataset.")]
    tuning = tuning(*others, "train.max_iter=2", "train.eval_period=0")
    used = []
    output = tuning.start(
        "project_7", lambda folder: shutil.copytree(shapes, folder, dirs_exist_ok=True), used.append
    )
    wait(tuning)
    assert used == [output], (output / CONSOLE).read_text()
    assert output.name == "project_7_1"
    config_file, weights = find_trained_model(output)
    assert load_run(config_file).class_names == load_run(config_file, weights=weights).class_names
    assert load_run(config_file).options.train_json == str(output / "export" / "train.json")


def test_failures_are_told_and_the_next_one_gets_another_folder(tuning, caplog):
    tuning, used = tuning("train.device=cpu"), []

    def fail(folder):
        raise OSError("the server is down")

    assert tuning.start("p", fail, used.append).name == "p_1"
    wait(tuning)
    assert "p_1: no new model, the server is down" in caplog.text
    # An empty folder is no data.
    assert tuning.start("p", lambda folder: None, used.append).name == "p_2"
    wait(tuning)
    assert "p_2: no new model, training ended with status 2: tood train: " in caplog.text
    assert "export is of no known form" in caplog.text
    assert used == []


def test_one_at_a_time(tuning):
    tuning, go_on = tuning(), threading.Event()
    assert tuning.start("p", lambda folder: go_on.wait() and 1 / 0, print)
    assert tuning.start("p", print, print) is None
    go_on.set()
    wait(tuning)
    assert not (tuning.folder / "p_2").exists()


def test_a_folder_that_cannot_be_made(tuning):
    tuning = tuning()
    tuning.folder.write_text("a file")
    for _ in range(2):  # the second one is not told that another is under way
        with pytest.raises(OSError, match="runs"):
            tuning.start("p", print, print)
