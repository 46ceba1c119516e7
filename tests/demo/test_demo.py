"""demo.py on good and broken images, from a folder of its own."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tood_d2.inference.video import VideoReader, video_writer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model_options(detecting_model):
    """Options for a small model that detects something everywhere."""
    opts = ["--opts", f"train.init_checkpoint={detecting_model}/model_final.pth"]
    return ["--config-file", str(detecting_model / "config.yaml")], opts


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


@pytest.fixture
def main(load_script, model_options, monkeypatch, tmp_path):
    """Runs demo.py's main in an empty folder; gives its status and the results that it saved."""
    demo = load_script("demo/demo.py")
    monkeypatch.chdir(tmp_path)

    def _main(*args, model=None):
        config, opts = model or model_options
        argv = ["demo.py", *config, "--save-json", "results.json", *map(str, args), *opts]
        monkeypatch.setattr(sys, "argv", argv)
        status = demo.main()
        return status, json.loads((tmp_path / "results.json").read_text())

    return _main


def assert_same_results(actual, expected):
    assert len(actual) == len(expected) > 0
    for one, other in zip(actual, expected, strict=True):
        assert one["score"] == pytest.approx(other["score"], rel=1e-4)
        assert one["bbox"] == pytest.approx(other["bbox"], rel=1e-4, abs=1e-2)
        assert (one["image_id"], one["category_id"]) == (other["image_id"], other["category_id"])


def test_the_optimized_model_detects_the_same(main, shapes):
    _, expected = main("--input", shapes / "val")
    _, actual = main("--input", shapes / "val", "--optimize", "float32")
    assert_same_results(actual, expected)


def test_results_have_the_form_of_coco(main, shapes):
    status, results = main("--input", shapes / "val")
    names = {path.name for path in (shapes / "val").iterdir()}
    assert status == 0 and {x["file_name"] for x in results} == names
    for result in results:
        x, y, width, height = result["bbox"]
        assert width >= 0 and height >= 0 and 0.3 <= result["score"] <= 1


def test_batches_detect_the_same(main, shapes):
    _, expected = main("--input", shapes / "val")
    _, actual = main("--input", shapes / "val", "--batch-size", 2)
    assert_same_results(actual, expected)


def test_classes_are_selected(main, shapes):
    _, everything = main("--input", shapes / "val")
    names = {x["category_name"] for x in everything}
    assert len(names) > 1
    kept = sorted(names)[0]
    _, some = main("--input", shapes / "val", "--classes", kept)
    assert some == [x for x in everything if x["category_name"] == kept]


def test_an_unknown_class(main, shapes, capsys):
    with pytest.raises(SystemExit, match="2"):
        main("--input", shapes / "val", "--classes", "unicorn")
    assert "--classes unicorn: not known, only " in capsys.readouterr().err


def test_a_video(main, shapes, tmp_path):
    frames = [cv2.imread(str(path)) for path in sorted((shapes / "val").iterdir())]
    height, width = frames[0].shape[:2]
    frames = [cv2.resize(x, (width, height)) for x in frames]
    with video_writer(str(tmp_path / "shapes.mp4"), (height, width), 5.0) as writer:
        for frame in frames:
            writer.write(frame)
    status, results = main("--video-input", "shapes.mp4", "--output", "out", "--batch-size", 2)
    assert status == 0
    assert {x["image_id"] for x in results} == {f"shapes_{i:06d}" for i in range(3)}
    drawn = VideoReader(str(tmp_path / "out" / "shapes.mp4"))
    assert (drawn.size, drawn.rate, len(drawn)) == ((height, width), 5.0, 3)
    differences = [np.abs(x.astype(int) - y).mean() for x, y in zip(drawn, frames, strict=True)]
    assert min(differences) > 1  # there are boxes


def test_what_cannot_be_used(main, shapes, tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("no video")
    for args, message in (
        (["--video-input", "text.mp4"], "text.mp4: no video"),
        (["--webcam", "99"], "99: no camera"),
        (["--input", f"{shapes}/val", "--onnx", "model.onnx"], "--onnx goes with none of"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(*args)
        assert message in capsys.readouterr().err


def test_test_time_augmentation_finds_what_the_model_finds(main, shapes):
    status, results = main("--input", shapes / "val", "--tta")
    assert status == 0 and results


def test_slices(main, shapes, tmp_path):
    pytest.importorskip("sahi")
    limit = Image.MAX_IMAGE_PIXELS
    image = cv2.imread(str(sorted((shapes / "val").iterdir())[0]))
    cv2.imwrite(str(tmp_path / "wide.png"), np.concatenate([image] * 4, axis=1))
    size = image.shape[1]
    _, whole = main("--input", "wide.png")
    status, sliced = main("--input", "wide.png", "--slice-size", size)
    assert status == 0 and sliced != whole
    # Nothing reaches out of the image, and some objects are found in the last slice.
    assert max(x["bbox"][0] + x["bbox"][2] for x in sliced) <= 4 * size
    assert max(x["bbox"][0] for x in sliced) > 3 * size
    assert limit == Image.MAX_IMAGE_PIXELS is not None  # SAHI lifts it
