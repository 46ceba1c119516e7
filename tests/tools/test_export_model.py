"""tools/export_model.py; the export itself is tested in tests/export."""

import sys
from pathlib import Path

import pytest

from tood_d2.config import build_model, load_config
from tood_d2.export.onnx_detector import ONNXDetector

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ZOO = sorted(x.stem for x in CONFIGS.glob("tood_*.yaml"))


@pytest.fixture(scope="module")
def tool(load_script):
    return load_script("tools/export_model.py")


@pytest.fixture
def export(tool, monkeypatch):
    def _export(*args):
        monkeypatch.setattr(sys, "argv", ["export_model.py", *map(str, args)])
        return tool.main()

    return _export


@pytest.mark.parametrize("kind", ["py", "yaml"])
def test_metadata_are_the_configs(tool, kind):
    device = ["train.device=cpu"] if kind == "py" else ["MODEL.DEVICE", "cpu"]
    cfg = load_config(str(CONFIGS / f"tood_R_50_FPN_1x.{kind}"), device)
    found = tool.read_metadata(cfg, build_model(cfg), has_nms=True)
    assert found.class_names[:2] == ["person", "bicycle"] and len(found.class_names) == 80
    assert found.category_ids[:13] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14]  # there is no 12
    assert (found.input_format, found.size_divisibility) == ("RGB", 32)
    assert (found.short_edge_length, found.max_size) == (800, 1333)
    assert (found.score_thresh, found.nms_thresh, found.max_detections) == (0.05, 0.6, 100)


def test_images_that_are_prepared_otherwise(tool):
    cfg = load_config(str(CONFIGS / "tood_R_18_FPN_small.py"), ["train.device=cpu"])
    cfg.dataloader.test.mapper.augmentations.append(cfg.dataloader.train.mapper.augmentations[1])
    with pytest.raises(ValueError, match="should be one ResizeShortestEdge"):
        tool.read_metadata(cfg, build_model(cfg), has_nms=True)


def test_what_cannot_be_exported(export, tmp_path, capsys):
    config = CONFIGS / "tood_R_18_FPN_small.py"
    for args, message in (
        (["--output", tmp_path / "model.pb"], "model.pb: should end in .onnx or .pt2"),
        (["--output", tmp_path / "model.onnx"], "no trained weights"),
    ):
        with pytest.raises(SystemExit, match="2"):
            export("--config-file", config, *args)
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_trained_model(export, detecting_model, tmp_path, capsys):
    output = tmp_path / "new" / "model.onnx"
    weights = f"train.init_checkpoint={detecting_model}/model_final.pth"
    arguments = ["--config-file", detecting_model / "config.yaml", "--output", output]
    arguments += ["--evaluate", "--int8", 2, "--opts", weights, f"train.output_dir={tmp_path}"]
    assert export(*arguments) == 0
    printed = capsys.readouterr().out
    assert "agrees with PyTorch" in printed and "NMS: as PyTorch does it" in printed
    aps = {x.split()[0]: x.split()[1] for x in printed.splitlines() if len(x.split()) == 2}
    assert aps[str(output)] == aps["PyTorch"]
    assert ONNXDetector(str(output)).metadata.has_nms
    small = output.with_suffix(".int8.onnx")
    assert small.stat().st_size < 0.4 * output.stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_the_zoo(export, name, tmp_path, capsys):
    config, output = CONFIGS / f"{name}.py", tmp_path / "model.onnx"
    assert export("--untrained", "--config-file", config, "--output", output) == 0
    assert "agrees with PyTorch" in capsys.readouterr().out
