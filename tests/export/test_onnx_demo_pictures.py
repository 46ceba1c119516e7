"""The images that onnx_demo.py reads and the pictures that it writes."""

import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from tood_d2.data.files import image_formats
from tood_d2.data.images import read_image
from tood_d2.export.onnx_export import finish_onnx


@pytest.fixture(scope="module")
def demo(load_script):
    return load_script("demo/onnx_demo.py")


@pytest.fixture(scope="module")
def model(exported_tood, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    onnx.save(finish_onnx(exported_tood.candidates, exported_tood.metadata), path)
    return path


@pytest.fixture
def run(demo, model, monkeypatch, capsys, tmp_path):
    """Runs the demo on files in an empty folder: exit status, standard output, standard error."""

    def _run(*argv):
        argv = ["onnx_demo.py", model, "--input", *argv, "--output", "out"]
        monkeypatch.setattr(sys, "argv", [*map(str, argv), "--confidence-threshold", "0"])
        return demo.main(), *capsys.readouterr()

    monkeypatch.chdir(tmp_path)
    return _run


def make_image(path, width=40, height=30):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


class TestReading:
    def test_kinds_are_those_of_the_package(self, demo):
        Image.init()
        assert {*Image.OPEN} - demo.NOT_DECODED == {*image_formats()}

    @pytest.mark.parametrize(
        "values",
        [
            np.array([[0, 0.5, 1]], np.float32),
            np.array([[-3, np.nan, np.inf]], np.float32),
            np.array([[0, 300, 65535]], np.int32),
            np.array([[0, 300, 65535]], np.uint16),
            np.array([[True, False, True]]),
        ],
    )
    def test_depths_are_scaled_as_in_the_package(self, demo, values, tmp_path):
        path = str(tmp_path / "a.tiff")
        Image.fromarray(values).save(path)
        image = np.asarray(demo.read_image(path))
        assert (image == read_image(path, "RGB")).all() and len(np.unique(image)) > 1

    def test_a_program_that_is_called_an_image(self, demo, tmp_path):
        path = tmp_path / "a.jpg"
        path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
        with pytest.raises(Image.UnidentifiedImageError):
            demo.read_image(str(path))

    def test_pipes_are_not_waited_for(self, demo, tmp_path):
        os.mkfifo(tmp_path / "a.png")
        with pytest.raises(FileNotFoundError, match="no such file"):
            demo.read_image(str(tmp_path / "a.png"))

    def test_large_images_can_be_allowed(self, run, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
        make_image("a.png", 1000, 1000)
        status, _, errors = run("a.png")
        assert status == 1 and "--max-megapixels allows more" in errors
        assert run("a.png", "--max-megapixels", 1)[0] == 0


class TestLabels:
    def test_names_without_a_font_become_numbers_with_one_warning(self, demo, capsys):
        demo.warn_of_fonts.cache_clear()
        names = ["cup", "чашка", "\U000100a3", "\U000100a4", "", "x" * 50]
        labels = [demo.label_of(name, cls) for cls, name in enumerate(names)]
        assert labels[0] == "cup" and labels[2:] == ["2", "3", "4", "x" * 39 + "…"]
        assert labels[1] in ("чашка", "1")  # Pillow's own font has no Cyrillic letters
        assert capsys.readouterr().err.count("\n") == 1

    def test_characters_are_drawn_by_a_font_that_has_them(self, demo):
        path = demo.find_font("é")
        font = demo.load_font(path, 20)
        assert demo.glyph(font, "é") != demo.glyph(font, "\U0010fffe")


class TestPictures:
    @pytest.mark.parametrize("size", [(1, 900), (3000, 1), (1, 1), (2, 5000)])
    def test_thin_images(self, run, size):
        make_image("thin.png", *size)
        status, output, errors = run("thin.png")
        assert status == 0, errors
        assert Image.open("out/thin.png").size == size
        assert output.startswith("out/thin.png: ")

    def test_boxes_of_thin_images_are_in_them(self, demo, model):
        loaded = demo.load(str(model))
        image = Image.new("RGB", (1000, 2))
        boxes, *_ = demo.detect(*loaded, image)
        assert len(boxes) and (boxes[:, 2] <= 1000.1).all() and (boxes[:, 3] <= 2.1).all()
        assert boxes[:, 2].max() > 500 and boxes[:, 3].max() > 1

    def test_they_may_be_replaced(self, run):
        make_image("a.png")
        make_image("b.jpg")
        assert run("a.png")[0] == 0
        status, _, errors = run("a.png", "b.jpg")
        assert (status, errors) == (0, "out: 1 pictures of an earlier run are replaced\n")
        assert sorted(os.listdir("out")) == ["a.png", "b.jpg"]

    def test_other_images_may_not(self, run):
        os.mkdir("out")
        make_image("a.png")
        make_image("out/a.png")
        before = Path("out/a.png").read_bytes()
        status, _, errors = run("a.png")
        assert status == 2 and "out/a.png exists and is not drawn by tood_d2" in errors
        assert Path("out/a.png").read_bytes() == before

    def test_a_failure_leaves_nothing(self, run, demo, monkeypatch):
        def fail(image, path, **kwargs):
            open(path, "w").close()
            raise OSError(28, "No space left on device")

        make_image("a.png")
        monkeypatch.setattr(demo.Image.Image, "save", fail)
        status, _, errors = run("a.png")
        assert status == 2 and "out/a.png: cannot be written: No space left" in errors
        assert os.listdir("out") == []

    def test_a_file_that_is_named_twice_is_drawn_once(self, run):
        make_image("a.png")
        assert run("a.png", "./a.png")[1].count("\n") == 1

    def test_names(self, demo):
        paths = ["a.png", "A.png", f"{'x' * 250}.webp", f"d/{'x' * 250}.webp"]
        names = demo.output_names(paths)
        assert names[:2] == ["a.png", "A_2.png"]
        assert [len(x) for x in names[2:]] == [255, 255] and len({*names}) == 4
