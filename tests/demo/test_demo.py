"""demo.py on good and broken images, from a folder of its own."""

import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch

from detectron2.config import LazyConfig
from tood_d2.engine import build_model, load_config
from tood_d2.engine.datasets import register_datasets

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model_options(tiny_overrides, tmp_path_factory):
    """Options for a small model of three classes that detects something everywhere."""
    folder = tmp_path_factory.mktemp("model")
    cfg = load_config(str(ROOT / "configs" / "tood_R_18_FPN_small.py"), tiny_overrides)
    register_datasets(cfg)
    torch.manual_seed(0)
    model = build_model(cfg)
    torch.nn.init.zeros_(model.head.cls_logits.bias)
    torch.nn.init.zeros_(model.head.cls_alignment[-1].bias)
    torch.save({"model": model.state_dict()}, folder / "model.pth")
    LazyConfig.save(cfg, str(folder / "config.yaml"))
    opts = ["--opts", f"train.init_checkpoint={folder}/model.pth"]
    return ["--config-file", str(folder / "config.yaml")], opts


@pytest.fixture
def run(model_options, tmp_path):
    """Runs demo.py in an empty folder with relative paths for its output."""
    config, opts = model_options

    def _run(*args):
        command = [sys.executable, str(ROOT / "demo" / "demo.py"), *config, *args, *opts]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    return _run


def test_good_and_broken_images(run, shapes, tmp_path, huge_png):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "huge.png").write_bytes(huge_png)
    (tmp_path / "sub").mkdir()
    first = sorted((shapes / "val").iterdir())[0]
    same_name = tmp_path / "sub" / first.name
    same_name.write_bytes(first.read_bytes())
    result = run(
        "--input", f"{shapes}/val", "broken.jpg", "huge.png", "sub/*",
        "--confidence-threshold", "0.4", "--output", "pictures",
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    assert "broken.jpg: not readable, skipped" in result.stdout + result.stderr
    assert "huge.png: not readable, skipped (Image size (400000000" in result.stdout + result.stderr
    assert "in 4 images, drawn in pictures" in result.stdout
    pictures = {path.name: cv2.imread(str(path)) for path in (tmp_path / "pictures").iterdir()}
    assert len(pictures) == 4  # three of the folder, one of the same name as the first
    assert f"{first.stem}_1{first.suffix}" in pictures
    drawn, original = pictures[first.name], cv2.imread(str(first))
    assert drawn.shape == original.shape
    assert (drawn != original).any()


def test_threshold_above_all_scores_draws_nothing(run, shapes):
    result = run(
        "--input", str(sorted((shapes / "val").iterdir())[0]), "--confidence-threshold", "1"
    )
    assert result.returncode == 0, result.stderr
    assert "0 detections in 1 images" in result.stdout


def test_no_such_input(run):
    result = run("--input", "nowhere/*.jpg")
    assert result.returncode == 2
    assert "nowhere/*.jpg" in result.stderr
    assert "Traceback" not in result.stderr


def test_no_weights(load_script, monkeypatch, capsys, shapes, tmp_path):
    demo = load_script("demo/demo.py")
    monkeypatch.chdir(tmp_path)
    argv = ["demo.py", "--input", f"{shapes}/val", "--opts", "train.init_checkpoint="]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit, match="2"):
        demo.main()
    assert "train.init_checkpoint" in capsys.readouterr().err


def test_the_optimized_model_detects_the_same(
    load_script, model_options, monkeypatch, shapes, tmp_path
):
    demo = load_script("demo/demo.py")
    monkeypatch.chdir(tmp_path)
    draw, drawn = demo.draw, []

    def record(image, instances, *args):
        drawn.append(instances)
        return draw(image, instances, *args)

    monkeypatch.setattr(demo, "draw", record)
    config, opts = model_options
    for optimize in ([], ["--optimize", "float32"]):
        argv = ["demo.py", *config, "--input", f"{shapes}/val", *optimize, *opts]
        monkeypatch.setattr(sys, "argv", argv)
        assert demo.main() == 0
    assert len(drawn) == 2 * 3
    for expected, actual in zip(drawn[:3], drawn[3:], strict=True):
        assert len(expected) == len(actual) > 0
        torch.testing.assert_close(actual.scores, expected.scores, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(
            actual.pred_boxes.tensor, expected.pred_boxes.tensor, rtol=1e-4, atol=1e-2
        )
        assert torch.equal(actual.pred_classes, expected.pred_classes)
