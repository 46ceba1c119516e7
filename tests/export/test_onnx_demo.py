"""onnx_demo.py, which has neither PyTorch nor Detectron2."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tood_d2.export.metadata import Metadata
from tood_d2.export.onnx_detector import ONNXPredictor
from tood_d2.export.onnx_export import finish_onnx

ROOT = Path(__file__).resolve().parents[2]
# Whatever is imported, these are not there.
ALONE = """
import runpy, sys
for name in ("torch", "torchvision", "detectron2", "tood_d2", "PIL"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def demo(load_script):
    return load_script("demo/onnx_demo.py")


@pytest.fixture(scope="module")
def image():
    """128 x 96 pixels, as the model wants them."""
    return np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(24, 128), (240, 128), (7, 128), (96, 32), (96, 320), (96, 131)])
def test_images_are_resized_as_pillow_does(demo, image, size):
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], Image.BILINEAR))
    assert (demo.resize(image, *size) == expected).all()


@pytest.mark.parametrize("size", [(24, 32), (240, 320), (7, 300)])
def test_both_sides_are_resized_almost_as_pillow_does(demo, image, size):
    """Which side is resized first, and rounded, is for the version of Pillow to say."""
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], Image.BILINEAR))
    assert np.abs(demo.resize(image, *size).astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    "shape, expected",
    [((480, 640), (800, 1067)), ((640, 480), (1067, 800)), ((300, 900), (444, 1333))],
)
def test_sizes_are_those_of_detectron2(demo, shape, expected):
    # 640 * 800 / 480 = 1066.7; the longest side of the last one is the limit.
    assert demo.resized_shape(*shape, 800, 1333) == expected


@pytest.mark.parametrize("has_nms", [True, False])
def test_detections_are_those_of_the_package(demo, image, exported, has_nms):
    path = exported[has_nms]
    session = demo.onnxruntime.InferenceSession(path)
    boxes, scores, classes = demo.detect(session, demo.read_metadata(session), image)
    expected = ONNXPredictor(path)(image)
    assert len(scores) == len(expected) > 0
    assert scores == pytest.approx(expected.scores.numpy(), rel=1e-4)
    assert boxes == pytest.approx(expected.pred_boxes.tensor.numpy(), rel=1e-4, abs=1e-2)
    assert (classes == expected.pred_classes.numpy()).all()


def test_it_runs_alone(exported, image, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), image)
    (tmp_path / "b.png").write_text("no image")
    script = str(ROOT / "demo" / "onnx_demo.py")
    arguments = [exported[True], "--input", "a.png", "b.png", "--confidence-threshold", "0.06"]
    result = subprocess.run(
        [sys.executable, "-c", ALONE, script, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1, result.stderr
    assert "b.png: not readable, skipped" in result.stderr
    assert "demo_output/a.png: " in result.stdout
    assert (cv2.imread(str(tmp_path / "demo_output" / "a.png")) != image).any()


def test_what_is_no_model(demo, monkeypatch, capsys, tmp_path):
    (tmp_path / "text.onnx").write_text("no model")
    argv = ["onnx_demo.py", str(tmp_path / "text.onnx"), "--input", "a.png"]
    monkeypatch.setattr(sys, "argv", argv)
    assert demo.main() == 2
    assert "text.onnx: " in capsys.readouterr().err


def test_it_reads_all_metadata(demo):
    assert set(demo.FIELDS) == set(Metadata.__dataclass_fields__)


@pytest.fixture(scope="module")
def exported(exported_tood, tmp_path_factory):
    """Files with and without NMS."""
    folder, paths = tmp_path_factory.mktemp("exported"), {}
    for has_nms in (True, False):
        paths[has_nms] = str(folder / f"{has_nms}.onnx")
        model = finish_onnx(
            exported_tood.candidates, replace(exported_tood.metadata, has_nms=has_nms)
        )
        Path(paths[has_nms]).write_bytes(model.SerializeToString())
    return paths
