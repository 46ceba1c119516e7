"""OpenVINO's models agree with the one that they are made of."""

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tood_d2.export.exporting import compare_candidates, same_detections
from tood_d2.export.onnx_export import export_candidates
from tood_d2.inference.runtimes import ExportedPredictor, load_exported

pytest.importorskip("openvino")
from tood_d2.export.openvino_export import save_openvino
from tood_d2.inference.runtimes.openvino_runtime import CACHE

ROOT = Path(__file__).resolve().parents[2]
SIZES, BATCHES = ((32, 32), (96, 160), (128, 96)), (1, 3)


@pytest.fixture(scope="module")
def exported(exported_tood, tmp_path_factory):
    """Files with and without NMS."""
    folder, paths = tmp_path_factory.mktemp("openvino"), {}
    for has_nms in (True, False):
        paths[has_nms] = str(folder / f"{has_nms}.xml")
        metadata = replace(exported_tood.metadata, has_nms=has_nms)
        save_openvino(exported_tood.candidates, metadata, paths[has_nms])
    return paths


@pytest.fixture(scope="module")
def detector(exported):
    return load_exported(exported[False])


@pytest.fixture(scope="module")
def samples():
    """Seven images of different sizes."""
    generator = torch.Generator().manual_seed(0)
    sizes = itertools.product((40, 64, 96), (50, 70, 160))
    images = [torch.randint(256, (3, *size), generator=generator).byte() for size in sizes][:7]
    return [{"image": x, "height": 100, "width": 200} for x in images]


def test_candidates_agree_for_all_sizes_and_batches(detector, exported_tood):
    for size, number in itertools.product(SIZES, BATCHES):
        assert max(compare_candidates(detector, exported_tood.model, size, number)) < 1e-4


def test_nms_selects_what_torchvision_selects(exported, detector):
    assert all(same_detections(load_exported(exported[True]), detector, x, 3) for x in SIZES)


@pytest.mark.slow
def test_deformable_convolutions_agree(tiny_tood, exported_tood, tmp_path):
    model = tiny_tood(strides=(8, 16), num_classes=3, head={"num_deform_convs": 1}).eval()
    torch.nn.init.normal_(model.head.inter_convs[0].conv_offset.weight, std=0.1)
    path = str(tmp_path / "deform.xml")
    metadata = replace(exported_tood.metadata, has_nms=False)
    save_openvino(export_candidates(model), metadata, path)
    assert max(compare_candidates(load_exported(path), model, SIZES[1], 2)) < 1e-4


def test_metadata_are_kept(detector, exported_tood):
    assert detector.metadata == replace(exported_tood.metadata, has_nms=False)
    assert (detector.num_channels, detector.num_requests) == (3, 1)


def test_weights_in_16_bits_take_half_the_space(exported_tood, exported, tmp_path):
    path, metadata = str(tmp_path / "half.xml"), replace(exported_tood.metadata, has_nms=False)
    save_openvino(exported_tood.candidates, metadata, path, half=True)
    sizes = [Path(x).with_suffix(".bin").stat().st_size for x in (path, exported[False])]
    assert sizes[0] < 0.6 * sizes[1]
    difference = max(compare_candidates(load_exported(path), exported_tood.model, SIZES[1], 1))
    assert 1e-6 < difference < 5e-3


def check_equal(found, expected):
    assert len(found) == len(expected) > 0
    for x, y in zip(found, expected, strict=True):
        x, y = x["instances"], y["instances"]
        assert len(x) == len(y) > 0 and x.image_size == y.image_size
        assert torch.equal(x.pred_classes, y.pred_classes)
        torch.testing.assert_close(x.scores, y.scores)
        torch.testing.assert_close(x.pred_boxes.tensor, y.pred_boxes.tensor)


@pytest.mark.parametrize("num_requests", [2, 3, 8])
@pytest.mark.parametrize("has_nms", [True, False])
def test_several_requests_find_what_one_finds(exported, samples, has_nms, num_requests):
    one, several = (load_exported(exported[has_nms], x) for x in (1, num_requests))
    expected = [one([x])[0] for x in samples]
    assert all(len(x["instances"]) for x in expected)
    check_equal(several(samples), expected)
    check_equal(list(several.stream(samples)), expected)
    check_equal(list(one.stream(samples)), expected)
    assert several([]) == []


def test_a_batch_finds_what_its_images_find_alone(detector):
    images = torch.randint(256, (3, 3, 64, 96), generator=torch.Generator().manual_seed(0))
    batch = [{"image": x.byte()} for x in images]
    check_equal(detector(batch), [detector([x])[0] for x in batch])


def test_no_more_images_are_taken_than_there_are_requests(exported, samples):
    taken = []

    def take():
        for sample in samples:
            taken.append(sample)
            yield sample

    stream = load_exported(exported[True], 2).stream(take())
    next(stream)
    assert len(taken) == 3  # one found, two in work
    assert len(list(stream)) == len(taken) - 1 == 6


def test_a_predictor_detects_in_several_images_at_once(exported, samples):
    images = [x["image"].permute(1, 2, 0).numpy() for x in samples]
    one, several = (ExportedPredictor(exported[False], x) for x in (1, 3))
    expected = [{"instances": one.detect([x])[0]} for x in images]
    check_equal([{"instances": x} for x in several.detect_all(images)], expected)
    check_equal([{"instances": x} for x in one.detect_all(iter(images))], expected)
    pairs = [*one.detect(images[:4]), *one.detect(images[4:])]
    check_equal(
        [{"instances": x} for x in one.detect_all(iter(images), 4)],
        [{"instances": x} for x in pairs],
    )


def test_compiled_models_are_kept_where_the_environment_says(
    exported, detector, samples, tmp_path, monkeypatch
):
    monkeypatch.setenv(CACHE, str(tmp_path / "compiled"))
    times = set()
    for _ in range(2):
        check_equal(load_exported(exported[False])(samples), detector(samples))
        (kept,) = (tmp_path / "compiled").iterdir()
        times.add(kept.stat().st_mtime_ns)
    assert len(times) == 1
    kept.chmod(0o600)
    kept.write_bytes(b"damaged")
    check_equal(load_exported(exported[False])(samples), detector(samples))


def test_files_that_are_no_such_model_are_refused(tmp_path):
    import openvino
    from openvino import opset13

    (tmp_path / "text.xml").write_text("no model")
    with pytest.raises(ValueError, match=r"text\.xml: "):
        load_exported(str(tmp_path / "text.xml"))
    with pytest.raises(ValueError, match=r"nowhere\.xml: "):
        load_exported(str(tmp_path / "nowhere.xml"))
    parameter = opset13.parameter([1, 3], np.float32, name="x")
    openvino.save_model(openvino.Model([opset13.relu(parameter)], [parameter]), tmp_path / "o.xml")
    with pytest.raises(ValueError, match=r"o\.xml: no model of tood_d2: .*class_names"):
        load_exported(str(tmp_path / "o.xml"))
    with pytest.raises(ValueError, match=r"model\.pb: an exported model is a file \.onnx or \.xml"):
        load_exported(str(tmp_path / "model.pb"))
    with pytest.raises(ValueError, match=r"--optimize is for \.xml files"):
        load_exported(str(tmp_path / "model.onnx"), optimize="bfloat16")


def test_the_demo_without_pytorch_finds_what_the_package_finds(exported, tmp_path):
    code = """
import runpy, sys
for name in ("torch", "torchvision", "detectron2", "tood_d2", "cv2", "onnxruntime"):
    sys.modules[name] = None
demo = runpy.run_path(sys.argv[1], run_name="demo")
image = demo["read_image"](sys.argv[3])
for x in demo["detect"](*demo["load"](sys.argv[2]), image):
    print(x.tolist())
"""
    image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    argv = [sys.executable, "-c", code, ROOT / "demo/onnx_demo.py", exported[True], "a.png"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True)
    boxes, scores, classes = (np.array(eval(x)) for x in done.stdout.splitlines())
    (expected,) = ExportedPredictor(exported[True]).detect([image])
    assert len(scores) == len(expected) > 0
    assert scores == pytest.approx(expected.scores.numpy(), rel=1e-4)
    assert boxes == pytest.approx(expected.pred_boxes.tensor.numpy(), rel=1e-4, abs=1e-2)
    assert (classes == expected.pred_classes.numpy()).all()


def test_int8_models_agree_roughly(exported, exported_tood, samples, tmp_path):
    pytest.importorskip("nncf")
    from tood_d2.export.openvino_quantization import quantize_openvino

    path = str(tmp_path / "small.xml")
    quantize_openvino(exported[False], path, samples)
    small = load_exported(path)
    assert small.metadata == replace(exported_tood.metadata, has_nms=False)
    assert 1e-4 < compare_candidates(small, exported_tood.model, SIZES[1], 1)[0] < 0.3
    assert "i8" in Path(path).read_text()
