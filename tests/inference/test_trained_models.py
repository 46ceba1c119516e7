"""The models that training left are found and loaded with their weights."""

import json
from pathlib import Path

import pytest
import torch

from tood_d2.config import load_run
from tood_d2.inference import TrainedModel, find_trained_model, find_trained_models
from tood_d2.inference.trained_models import read_results

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture
def runs(tmp_path):
    """A folder of runs: one with both weights, a nested one, one of which a file is missing."""
    for name in (
        "b/config.yaml",
        "b/model_final.pth",
        "b/model_best.pth",
        "b/model_0000449.pth",
        "a/c=1, d/config.yaml",
        "a/c=1, d/model_best.pth",
        "no_weights/config.yaml",
        "no_config/model_final.pth",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_models_with_config_and_weights_are_found(runs):
    models = find_trained_models(runs)
    assert list(models) == ["a/c=1, d/model_best.pth", "b/model_final.pth", "b/model_best.pth"]
    assert models["b/model_best.pth"] == (f"{runs}/b/config.yaml", f"{runs}/b/model_best.pth")


def test_models_of_the_folder_itself_are_found(runs):
    assert list(find_trained_models(runs / "b")) == ["model_final.pth", "model_best.pth"]


def test_folders_without_models_have_none(runs):
    assert find_trained_models(runs / "no_weights") == {}
    assert find_trained_models(runs / "nowhere") == {}


def test_run_of_either_kind_has_the_weights_that_were_found(runs):
    """Under a path that overrides in words would misunderstand."""
    model = find_trained_models(runs)["a/c=1, d/model_best.pth"]
    Path(model.config_file).write_text(f"_BASE_: {CONFIGS}/tood_R_50_FPN_1x.yaml\n")
    assert model.weights == model.load_run().cfg.MODEL.WEIGHTS
    Path(model.config_file).write_text("model: {}\ntrain: {device: cpu, init_checkpoint: ''}\n")
    assert model.load_run().cfg.train.init_checkpoint == model.weights


def test_the_model_of_a_folder_is_the_last_one_and_files_are_themselves(runs):
    config = f"{runs}/b/config.yaml"
    assert find_trained_model(runs / "b") == (config, f"{runs}/b/model_final.pth")
    assert find_trained_model(runs / "a" / "c=1, d").weights.endswith("d/model_best.pth")
    for name in ("model_best.pth", "model_0000449.pth"):
        assert find_trained_model(runs / "b" / name) == (config, f"{runs}/b/{name}")


@pytest.mark.parametrize(
    "name", ["no_weights", "no_config", "nowhere", "no_config/model_final.pth"]
)
def test_what_is_no_trained_model_is_refused(runs, name):
    with pytest.raises(
        FileNotFoundError, match=f"{name}: no trained model, which is a folder with"
    ):
        find_trained_model(runs / name)


def test_shared_models_are_found(tmp_path):
    for name in ("config.yaml", "model.safetensors"):
        (tmp_path / name).touch()
    assert list(find_trained_models(tmp_path)) == ["model.safetensors"]
    assert find_trained_model(tmp_path).weights == f"{tmp_path}/model.safetensors"


@pytest.fixture
def results(tmp_path):
    """Results of the weights with this content, after 20 iterations evaluated every 10."""
    rows = [
        {"iteration": 8, "total_loss": 1.0},
        {"iteration": 9, "bbox/AP": 30.0, "bbox/AP-cat": 40.0, "ema/bbox/AP": 10.0},
        {"iteration": 20, "bbox/AP": 50.0, "ema/bbox/AP": 55.0, "ema/bbox/AP50": 80.0},
    ]
    lines = [*map(json.dumps, rows), '{"iteration": 9, "bbox/']  # of a killed program
    (tmp_path / "metrics.json").write_text("\n".join(lines))

    def read(ema=False, **content):
        model = TrainedModel("", str(tmp_path / "weights.pth"))
        torch.save({"model": {}, **content}, model.weights)
        overrides = ["train.max_iter=20", f"train.ema.enabled={ema}"]
        return read_results(model, load_run(str(CONFIGS / "tood_R_18_FPN_small.py"), overrides))

    return read


def test_results_are_those_of_the_weights_themselves(results):
    assert results(iteration=9) == {"AP": 30.0, "AP-cat": 40.0}
    # The last evaluation is logged one iteration later than the last step.
    assert results(iteration=19) == results(iteration=20) == results() == {"AP": 50.0}
    assert results(iteration=10) == {}


def test_averaged_weights_have_results_of_their_own(results):
    assert results(ema=True, iteration=20) == results(ema=True) == {"AP": 55.0, "AP50": 80.0}
    assert results(ema=True, iteration=19, trainer={}) == {"AP": 50.0}


def test_no_metrics_no_results(results, tmp_path):
    (tmp_path / "metrics.json").unlink()
    assert results() == {}
