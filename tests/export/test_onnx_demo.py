"""onnx_demo.py, which has neither PyTorch nor Detectron2."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from tood_d2.data.images import read_upload
from tood_d2.export.onnx_export import finish_onnx
from tood_d2.inference.runtimes import ExportedPredictor
from tood_d2.inference.runtimes.metadata import Metadata

ROOT = Path(__file__).resolve().parents[2]
# Whatever is imported, these are not there.
ALONE = """
import runpy, sys
for name in ("torch", "torchvision", "detectron2", "tood_d2", "cv2"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def demo(load_script):
    return load_script("demo/onnx_demo.py")


@pytest.fixture(scope="module")
def image():
    """128 x 96 pixels, as the model wants them, RGB."""
    return np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def exported(exported_tood, tmp_path_factory):
    """Files with and without NMS."""
    folder, paths = tmp_path_factory.mktemp("exported"), {}
    for has_nms in (True, False):
        paths[has_nms] = str(folder / f"{has_nms}.onnx")
        metadata = replace(exported_tood.metadata, has_nms=has_nms)
        onnx.save(finish_onnx(exported_tood.candidates, metadata), paths[has_nms])
    return paths


@pytest.fixture
def run(demo, monkeypatch, capsys, tmp_path):
    """Runs the demo in an empty folder: exit status, standard output, standard error."""

    def _run(*argv):
        monkeypatch.setattr(sys, "argv", ["onnx_demo.py", *map(str, argv)])
        return demo.main(), *capsys.readouterr()

    monkeypatch.chdir(tmp_path)
    return _run


class TestDetection:
    @pytest.mark.parametrize(
        "shape, expected",
        [((480, 640), (800, 1067)), ((640, 480), (1067, 800)), ((300, 900), (444, 1333))],
    )
    def test_sizes_are_those_of_detectron2(self, demo, shape, expected):
        # 640 * 800 / 480 = 1066.7; the longest side of the last one is the limit.
        assert demo.resized_shape(*shape, 800, 1333) == expected

    @pytest.mark.parametrize("has_nms", [True, False])
    @pytest.mark.parametrize("size", [(128, 96), (200, 140)])
    def test_detections_are_those_of_the_package(self, demo, image, exported, size, has_nms):
        path = exported[has_nms]
        loaded = demo.load(path)
        picture = Image.fromarray(image).resize(size)
        boxes, scores, classes = demo.detect(*loaded, picture)
        expected = ExportedPredictor(path)(np.asarray(picture)[:, :, ::-1])["instances"]
        assert len(scores) == len(expected) > 0
        assert scores == pytest.approx(expected.scores.numpy(), rel=1e-4)
        assert boxes == pytest.approx(expected.pred_boxes.tensor.numpy(), rel=1e-4, abs=1e-2)
        assert (classes == expected.pred_classes.numpy()).all()


class TestThinImages:
    def test_have_a_pixel_at_least(self, demo):
        assert demo.resized_shape(1, 3000, 800, 1333) == (1, 1333)  # 1 * 1333 / 3000 = 0.4

    def test_are_detected_in(self, demo, exported):
        loaded = demo.load(exported[True])
        picture = Image.new("RGB", (3000, 1))
        boxes, _, _ = demo.detect(*loaded, picture)
        assert np.isfinite(boxes).all()


class TestReading:
    def check(self, demo, path):
        """The image is read as by the package; returns it."""
        image = np.asarray(demo.read_image(path))
        assert (image == read_upload(path)).all()
        return image

    def test_16_bits_are_scaled_to_8(self, demo, tmp_path):
        path = tmp_path / "a.png"
        Image.fromarray(np.array([[0, 257, 65535]], np.uint16)).save(path)
        assert self.check(demo, path)[0, :, 0].tolist() == [0, 1, 255]

    def test_exif_orientation_turns_the_image(self, demo, image, tmp_path):
        path, exif = tmp_path / "a.png", Image.Exif()
        exif[0x0112] = 6  # a quarter turn to the right
        Image.fromarray(image).save(path, exif=exif)
        assert (self.check(demo, path) == np.rot90(image, -1)).all()

    def test_palette_and_transparency_become_rgb(self, demo, image, tmp_path):
        for mode in ("P", "LA", "RGBA"):
            Image.fromarray(image).convert(mode).save(tmp_path / f"{mode}.png")
            assert self.check(demo, tmp_path / f"{mode}.png").shape == image.shape

    def test_programs_and_pipes_are_not_opened(self, demo, tmp_path):
        (tmp_path / "a.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
        os.mkfifo(tmp_path / "b.jpg")
        for name in ("a.jpg", "b.jpg"):
            with pytest.raises(OSError):
                demo.read_image(tmp_path / name)


class TestPictures:
    @pytest.mark.parametrize("brightness", [0, 128, 255])
    def test_label_stands_on_a_filled_box_above_the_object(self, demo, brightness):
        picture = Image.new("RGB", (300, 200), (brightness,) * 3)
        demo.draw(picture, np.array([[50.0, 100.0, 250.0, 150.0]]), ["owl 93%"])
        pixels = np.asarray(picture).astype(int)
        colors, counts = np.unique(pixels[88:99, 52:70].reshape(-1, 3), axis=0, return_counts=True)
        fill = colors[counts.argmax()]
        assert (fill != brightness).any() and counts.max() > 50
        assert (pixels[150, 60] == fill).all()  # the frame's colour
        contrast = np.abs(pixels[84:99, 50:100] - fill).sum(axis=2).max()
        assert contrast > 200  # the text
        assert (pixels[110:140, 70:240] == brightness).all()  # nothing is on the object

    def test_label_grows_with_the_image(self, demo):
        heights = []
        for size in (200, 1000):
            picture = Image.new("RGB", (size, size))
            demo.draw(picture, np.array([[10.0, 150.0, 190.0, 190.0]]), ["owl 93%"])
            rows = np.asarray(picture)[:148].any(axis=(1, 2))
            heights.append(rows.sum())
        assert heights[1] > 2 * heights[0] > 20

    @pytest.mark.parametrize("box", [[-9, -9, 8, 8], [290, 190, 309, 209], [9, 9, 3, 3]])
    def test_label_stays_in_the_image(self, demo, box):
        picture = Image.new("RGB", (300, 200))
        demo.draw(picture, np.array([box], np.float32), ["owl 93%"])
        columns = np.asarray(picture).any(axis=(0, 2))
        assert columns.sum() > 40  # the whole label

    def test_names_are_different(self, demo):
        names = demo.output_names(["a/x.png", "b/x.png", "c/x.JPG", "x.tif", "x_2.png"])
        assert names == ["x.png", "x_2.png", "x.JPG", "x.tif.png", "x_2_2.png"]


class TestProgram:
    def test_it_runs_alone(self, exported, image, tmp_path):
        Image.fromarray(image).save(tmp_path / "a.png")
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
        assert (np.asarray(Image.open(tmp_path / "demo_output" / "a.png")) != image).any()

    def test_images_of_the_same_name_get_a_picture_each(self, run, exported, image, tmp_path):
        for folder, pixels in (("a", image), ("b", image[:, ::-1])):
            (tmp_path / folder).mkdir()
            Image.fromarray(pixels).save(tmp_path / folder / "x.png")
        status, output, _ = run(exported[True], "--input", "a/x.png", "b/x.png", "--output", "out")
        assert status == 0
        assert [line.split(":")[0] for line in output.splitlines()] == ["out/x.png", "out/x_2.png"]
        first, second = (np.asarray(Image.open(f"out/{name}.png")) for name in ("x", "x_2"))
        assert (first != second).any()

    @pytest.mark.parametrize("output", ["images", ".", "links"])
    def test_images_are_not_overwritten(self, run, exported, image, tmp_path, output):
        for folder in ("images", "links"):
            (tmp_path / folder).mkdir()
        paths = [tmp_path / "a.png", tmp_path / "images" / "b.png"]
        for path in paths:
            Image.fromarray(image).save(path)
        (tmp_path / "links" / "a.png").symlink_to(paths[0])
        status, _, errors = run(exported[True], "--input", *paths, "--output", output)
        assert status == 2
        assert errors == f"onnx_demo.py: --output {output}: images are there, name another folder\n"
        assert all((np.asarray(Image.open(path)) == image).all() for path in paths)

    @pytest.mark.parametrize("output", ["file", "file/out", "folder"])
    def test_output_that_cannot_be_written(self, run, exported, image, tmp_path, output):
        (tmp_path / "file").touch()
        (tmp_path / "folder" / "a.png").mkdir(parents=True)
        (tmp_path / "images").mkdir()
        Image.fromarray(image).save("images/a.png")
        status, _, errors = run(exported[True], "--input", "images/a.png", "--output", output)
        assert status == 2 and errors.count("\n") == 1
        assert output in errors


class TestBadModels:
    def test_text(self, run, tmp_path):
        (tmp_path / "text.onnx").write_text("no model")
        status, _, errors = run("text.onnx", "--input", "a.png")
        assert status == 2 and "text.onnx: " in errors and errors.count("\n") == 1

    @pytest.mark.parametrize(
        "name, value, text",
        [
            ("class_names", "[", "class_names should be a list of names, not '['"),
            ("class_names", '{"a": 1}', "class_names should be a list of names"),
            ("class_names", "[1]", "class_names should be a list of names"),
            ("class_names", "[]", "class_names should be a list of names"),
            ("class_names", "[" * 100_000, "class_names should be a list of names"),
            ("max_size", '"large"', "max_size should be a positive integer"),
            ("max_size", "true", "max_size should be a positive integer"),
            ("short_edge_length", "-3", "short_edge_length should be a positive integer"),
            ("size_divisibility", "0", "size_divisibility should be a positive integer, not '0'"),
            ("score_thresh", "null", "score_thresh should be a number"),
            ("nms_thresh", "NaN", "nms_thresh should be a number"),
            ("input_format", '"HSV"', "input_format should be RGB or BGR or L"),
            ("input_format", '["RGB"]', "input_format should be RGB or BGR or L"),
            ("has_nms", None, "it has no has_nms"),
            ("class_names", '["cat"]', "fails on a.png"),
        ],
    )
    def test_odd_metadata(self, run, exported, image, tmp_path, name, value, text):
        model = onnx.load(exported[True])
        properties = {x.key: x.value for x in model.metadata_props} | {name: value}
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, {k: v for k, v in properties.items() if v is not None})
        onnx.save(model, "odd.onnx")
        Image.fromarray(image).save("a.png")
        argv = ["--input", "a.png", "--output", "out", "--confidence-threshold", 0]
        status, _, errors = run("odd.onnx", *argv)
        assert status == 2 and errors.count("\n") == 1
        assert "odd.onnx" in errors and text in errors

    def test_a_huge_edge(self, demo, exported, image):
        model, metadata = demo.load(exported[True])
        metadata |= {"short_edge_length": 30_000, "max_size": 2**63 - 1}
        with pytest.raises(ValueError, match="40000 x 30000 pixels are too many"):
            demo.detect(model, metadata, Image.fromarray(image))

    def test_class_names_do_not_reach_the_terminal_as_commands(self, demo):
        assert demo.printable("c\x1b[2Jat\n 干") == "c?[2Jat? 干"

    def test_all_metadata_are_known(self, demo):
        assert set(demo.FIELDS) == set(Metadata.__dataclass_fields__)
