"""Programs take exported models like any other."""

import json

import pytest
from script_runs import Command
from script_runs import run as run_script

from tood_d2.config import load_run
from tood_d2.export.exporting import read_metadata, write_exported
from tood_d2.export.onnx_export import export_candidates
from tood_d2.inference import load_detector


@pytest.fixture(scope="module")
def exported(detecting_model, tmp_path_factory):
    """Files of a model that finds ten objects in any image, by their suffix."""
    pytest.importorskip("openvino")
    weights = str(detecting_model / "model_final.pth")
    overrides = ["model.max_detections_per_image=10"]
    run = load_run(str(detecting_model / "config.yaml"), overrides, weights=weights)
    model, folder = load_detector(run), tmp_path_factory.mktemp("exported")
    candidates, metadata = export_candidates(model), read_metadata(run, model, has_nms=True)
    paths = {suffix: str(folder / f"model{suffix}") for suffix in (".onnx", ".xml")}
    for path in paths.values():
        write_exported(candidates, metadata, path)
    return paths


@pytest.fixture
def call(tmp_path, detecting_model):
    """Runs a script in an empty folder."""
    return lambda *argv: run_script(Command([*map(str, argv)]), tmp_path)


@pytest.fixture
def detect(call, shapes, tmp_path):
    """Runs demo.py on the validation images; gives the results that it saved."""

    def _detect(*args):
        files = ["--input", shapes / "val", "--save-json", "results.json"]
        outcome = call("demo/demo.py", *files, *args)
        assert outcome.status == 0, outcome.output
        return json.loads((tmp_path / "results.json").read_text())

    return _detect


@pytest.fixture
def config(detecting_model):
    return ["--config-file", detecting_model / "config.yaml"]


@pytest.fixture
def weights(detecting_model):
    path = f"train.init_checkpoint={detecting_model}/model_final.pth"
    return [path, "model.max_detections_per_image=10"]


def assert_same(found, expected):
    assert len(found) == len(expected) == 30
    for x, y in zip(found, expected, strict=True):
        assert x["image_id"] == y["image_id"] and x["category_id"] == y["category_id"]
        assert x["score"] == pytest.approx(y["score"], rel=1e-3)
        assert x["bbox"] == pytest.approx(y["bbox"], rel=1e-3, abs=0.05)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_the_demo_finds_what_the_model_finds(detect, exported, config, weights, suffix):
    expected = detect(*config, "--opts", *weights)
    assert_same(detect("--exported", exported[suffix]), expected)


def test_several_images_are_in_work_at_once(detect, exported):
    one, several = (detect("--exported", exported[".xml"], "--batch-size", x) for x in (1, 3))
    assert_same(several, one)


@pytest.fixture
def evaluate(call, config, weights, tmp_path):
    """Runs train_net.py --eval-only; gives the results that it saved."""

    def _evaluate(*options):
        outcome = call(
            "train_net.py", *config, "--eval-only", *options, *weights, "train.output_dir=out"
        )
        assert outcome.status == 0, outcome.output
        return json.loads((tmp_path / "out/inference/coco_instances_results.json").read_text())

    return _evaluate


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_evaluation_finds_what_the_model_finds(evaluate, exported, suffix):
    assert_same(evaluate("--exported", exported[suffix]), evaluate())


def test_evaluation_by_test_time_augmentation(evaluate, exported):
    assert_same(evaluate("--tta", "--exported", exported[".xml"]), evaluate("--tta"))


def test_evaluation_in_slices(evaluate, exported):
    pytest.importorskip("sahi")
    found, expected = (
        evaluate("--slice-size", 64, *x) for x in (["--exported", exported[".xml"]], [])
    )
    # Which of two boxes is merged into the other is up to rounding.
    assert len(found) == pytest.approx(len(expected), rel=0.05) and len(found) > 30


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--exported", "model.pb"], "model.pb: an exported model is a file .onnx or .xml"),
        (["--exported", "nowhere.xml"], "nowhere.xml: "),
        (["--exported", "nowhere.onnx", "--optimize", "auto"], "--optimize is for .xml files"),
    ],
)
def test_what_cannot_be_used_is_refused(call, shapes, args, message):
    outcome = call("demo/demo.py", "--input", shapes / "val", *args)
    assert outcome.status == 2 and message in outcome.messages[-1]


def test_other_classes_are_refused(call, exported, config, tmp_path, shapes):
    other = tmp_path / "other.json"
    other.write_text((shapes / "val.json").read_text().replace("star", "moon"))
    options = ["--eval-only", "--exported", exported[".xml"], "train.output_dir=out"]
    data = [f"dataset.{x}_json={other}" for x in ("train", "test")]
    data += [f"dataset.{x}_images={shapes}/val" for x in ("train", "test")]
    outcome = call("train_net.py", *config, *options, *data)
    assert outcome.status == 2
    assert "its classes are " in outcome.messages[-1] and "moon" in outcome.messages[-1]


@pytest.mark.parametrize(
    "args",
    [["--exported", "a.xml"], ["--eval-only", "--exported", "a.xml", "--ensemble", "b"]],
    ids=str,
)
def test_options_that_do_not_go_together(call, config, args):
    outcome = call("train_net.py", *config, *args)
    assert outcome.status == 2 and "--exported" in outcome.messages[-1]
