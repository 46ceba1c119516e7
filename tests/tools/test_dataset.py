"""dataset.py on small data sets: what it prints, writes and returns."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(load_script, monkeypatch, capsys):
    """Runs the tool: exit status, standard output, standard error."""
    tool = load_script("tools/dataset.py")

    def _run(*argv):
        monkeypatch.setattr(sys, "argv", ["dataset.py", *map(str, argv)])
        try:
            status = tool.main()
        except SystemExit as stop:  # by argparse
            status = stop.code
        return status, *capsys.readouterr()

    return _run


@pytest.fixture
def data(tmp_path):
    """Folder of images/a.png and b.png; writes x.json with the annotations it is given."""
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (200, 100)).save(tmp_path / "images" / f"{name}.png")

    def write(*boxes, file="x.json", **changes):
        content = {
            "images": [
                {"id": i, "file_name": f"{name}.png", "width": 200, "height": 100}
                for i, name in ((1, "a"), (2, "b"))
            ],
            "annotations": [
                {"id": i, "image_id": 1, "category_id": 3, "bbox": box, "area": 1, "iscrowd": 0}
                for i, box in enumerate(boxes, start=1)
            ],
            "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
        }
        path = tmp_path / file
        path.write_text(json.dumps(content | changes))
        return path

    return write


@pytest.fixture
def voc(tmp_path):
    """A folder in VOC's form: a.jpg with a dog and b.jpg in train, c.jpg in val."""
    root = tmp_path / "voc"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for name in ("a", "b", "c"):
        Image.new("RGB", (64, 48)).save(root / "JPEGImages" / f"{name}.jpg")
    (root / "Annotations" / "a.xml").write_text(
        "<annotation><object><name>dog</name><difficult>1</difficult><bndbox><xmin>2</xmin>"
        "<ymin>3</ymin><xmax>5</xmax><ymax>9</ymax></bndbox></object></annotation>"
    )
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\nb\n")
    (root / "ImageSets" / "Main" / "val.txt").write_text("c\n")
    return root


GOOD = [10, 10, 20, 20]
BAD = [10, 10, float("nan"), 20]
OUTSIDE = [300, 10, 20, 20]


class TestCheck:
    def test_prints_the_boxes_by_class_and_size(self, run, data, tmp_path):
        # 31 x 33 = 1023 is small, 32 x 32 = 1024 and 96 x 95 medium, 96 x 96 large.
        boxes = [[0, 0, 31, 33], [0, 0, 32, 32], [0, 0, 96, 95], [0, 0, 96, 96], [1, 1, 96, 96]]
        status, output, _ = run("check", data(*boxes), tmp_path / "images")
        assert status == 0
        assert "2 images, 5 boxes" in output and "no problems" in output
        rows = [line.split() for line in output.splitlines()]
        assert ["id", "class", "boxes", "small", "medium", "large"] in rows
        assert ["3", "cat", "5", "1", "2", "2"] in rows
        assert ["5", "dog", "0", "0", "0", "0"] in rows
        assert ["all", "5", "1", "2", "2"] in rows

    def test_harmless_problems_do_not_fail(self, run, data, tmp_path):
        status, output, _ = run("check", data(GOOD, OUTSIDE), tmp_path / "images")
        assert status == 0
        assert "outside-box: 1\n" in output and "x.json: annotation 2: box [300" in output

    def test_fatal_problems_come_first_and_fail(self, run, data, tmp_path):
        status, output, _ = run("check", data(GOOD, OUTSIDE, BAD), tmp_path / "images")
        assert status == 1
        assert "bad-box: 1, fatal\n" in output and "x.json: annotation 3: box" in output
        assert output.index("bad-box") < output.index("outside-box")

    def test_shows_five_problems_of_a_kind_or_all(self, run, data, tmp_path):
        boxes = [[300 + i, 10, 20, 20] for i in range(9)]
        json_file = data(GOOD, *boxes)
        _, output, _ = run("check", json_file, tmp_path / "images")
        assert "outside-box: 9" in output and "and 4 more" in output
        assert "annotation 6:" in output and "annotation 7:" not in output
        _, output, _ = run("check", json_file, tmp_path / "images", "--verbose")
        assert "annotation 10:" in output and "more," not in output

    def test_opens_the_images_unless_quick(self, run, data, tmp_path):
        (tmp_path / "images" / "b.png").unlink()
        status, output, _ = run("check", data(GOOD), tmp_path / "images")
        assert status == 1 and "missing-image: 1, fatal" in output and "image 2 (b.png)" in output
        status, output, _ = run("check", data(GOOD), tmp_path / "images", "--quick")
        assert status == 0 and "no problems" in output

    def test_compares_with_test_data(self, run, data, tmp_path):
        json_file, other = (
            data(GOOD),
            data(GOOD, file="y.json", categories=[{"id": 3, "name": "?"}]),
        )
        status, output, _ = run("check", json_file, tmp_path / "images", "--against", other)
        assert status == 1
        assert "other-categories: 2, fatal" in output and "shared-image: 2\n" in output

    def test_finds_objects_that_are_too_small_for_the_input_size(self, run, data, tmp_path):
        # At the default 800 x 1333 the scale is 6.665, at 30 x 1333 0.3.
        json_file = data(GOOD)
        assert "no problems" in run("check", json_file, tmp_path / "images")[1]
        status, output, _ = run("check", json_file, tmp_path / "images", "--short-edge", 30)
        assert status == 0 and "small-objects: 1\n" in output and "1 of 1 boxes" in output
        output = run("check", json_file, tmp_path / "images", "--max-size", 60)[1]
        assert "small-objects: 1\n" in output

    def test_a_missing_list_is_named(self, run, data, tmp_path):
        status, output, _ = run("check", data(images=None), tmp_path / "images")
        assert status == 1 and "missing-list: 1, fatal" in output and "'images'" in output

    def test_fix_writes_a_copy_without_the_problems(self, run, data, tmp_path):
        json_file, fixed = data(GOOD, OUTSIDE, BAD), tmp_path / "fixed.json"
        before = json_file.read_text()
        (tmp_path / "images" / "b.png").write_text("no image")
        check = "check", json_file, tmp_path / "images", "--fix", fixed
        status, output, errors = run(*check)  # 2 of 3 boxes would be dropped
        assert status == 2 and "would drop" in errors and "2 of 3 annotations" in errors
        assert not fixed.exists()
        status, output, _ = run(*check, "--max-lost", 0.7)
        assert status == 0
        assert "fixed.json: 3 changes" in output
        assert output.endswith(f"problems left in {fixed}:\nno problems\n")
        for text in ("annotation 2: dropped", "annotation 3: dropped", "image 2 (b.png): dropped"):
            assert text in output
        assert json_file.read_text() == before
        assert sorted(os.listdir(tmp_path)) == ["fixed.json", "images", "x.json"]
        content = json.loads(fixed.read_text())
        assert [x["bbox"] for x in content["annotations"]] == [GOOD]
        status, output, _ = run("check", fixed, tmp_path / "images")
        assert status == 0 and "\nno problems\n" in output

    def test_fails_if_problems_are_left(self, run, data, tmp_path):
        json_file, fixed = data(BAD), tmp_path / "fixed.json"
        status, output, _ = run("check", json_file, tmp_path / "images", "--fix", fixed)
        assert status == 1 and fixed.exists()
        assert "no-boxes: 1, fatal" in output.split("problems left")[1]


class TestConvert:
    def boxes(self, file):
        return [x["bbox"] for x in json.loads(file.read_text())["annotations"]]

    def test_writes_voc_and_prints_the_splits(self, run, voc, tmp_path):
        out = tmp_path / "new" / "annotations"
        status, output, _ = run("convert", "voc", voc, out)
        assert status == 0
        rows = [line.split() for line in output.splitlines()]
        assert [str(out / "train.json"), "2", "1", "1"] in rows
        assert [str(out / "val.json"), "1", "1", "0"] in rows
        assert f"folder of the images: {voc}/JPEGImages" in output and "1 classes: dog" in output
        assert self.boxes(out / "train.json") == [[1, 2, 4, 7]]
        status, output, _ = run("check", out / "train.json", voc / "JPEGImages")
        assert status == 0 and "2 images, 1 boxes" in output

    def test_options_of_voc(self, run, voc, tmp_path):
        assert run("convert", "voc", voc, tmp_path / "zero", "--zero-based")[0] == 0
        assert self.boxes(tmp_path / "zero" / "train.json") == [[2, 3, 3, 6]]
        status, _, errors = run("convert", "voc", voc, tmp_path / "easy", "--skip-difficult")
        assert status == 2 and "there is no box in 3 images: looked for <object>" in errors
        assert f"{voc}/Annotations/a.xml" in errors
        assert not (tmp_path / "easy").exists()

    def test_overwrites_only_on_request(self, run, voc, tmp_path):
        (tmp_path / "val.json").write_text("mine")
        status, _, errors = run("convert", "voc", voc, tmp_path)
        assert status == 2 and f"{tmp_path}/val.json exists already" in errors
        assert (tmp_path / "val.json").read_text() == "mine"
        assert not (tmp_path / "train.json").exists()
        assert run("convert", "voc", voc, tmp_path, "--overwrite")[0] == 0
        assert self.boxes(tmp_path / "val.json") == []

    def test_writes_yolo(self, run, tmp_path):
        for folder in ("images", "labels"):
            (tmp_path / folder).mkdir()
        Image.new("RGB", (40, 30)).save(tmp_path / "images" / "a.png")
        (tmp_path / "labels" / "a.txt").write_text("0 .5 .5 .5 .2")
        (tmp_path / "data.yaml").write_text("train: images\nnames: [cat]")
        status, output, _ = run("convert", "yolo", tmp_path / "data.yaml", tmp_path / "out")
        assert status == 0 and f"folder of the images: {tmp_path}/images" in output
        assert self.boxes(tmp_path / "out" / "train.json") == [[10, 12, 20, 6]]
        (tmp_path / "labels" / "a.txt").write_text("0 .5 .5 .5 .2 .91")
        status, _, errors = run("convert", "yolo", tmp_path, tmp_path / "no")
        assert status == 2 and "a.txt, line 1: " in errors and "--drop-scores" in errors
        assert run("convert", "yolo", tmp_path, tmp_path / "yes", "--drop-scores")[0] == 0
        assert self.boxes(tmp_path / "yes" / "train.json") == [[10, 12, 20, 6]]

    def test_says_what_it_leaves_out(self, run, voc, tmp_path, log):
        assert run("convert", "voc", voc, tmp_path / "out")[0] == 0
        assert log.messages == [
            "images without XML file, taken for images without objects: 2, the first is "
            f"{voc}/JPEGImages/b.jpg"
        ]


class TestSplit:
    def test_writes_a_file_for_each_fraction(self, run, data, tmp_path):
        json_file, out = data(GOOD), tmp_path / "new"
        status, output, _ = run("split", json_file, out, "--fractions", 0.5, 0.5)
        assert status == 0 and sorted(os.listdir(out)) == ["train.json", "val.json"]
        parts = [json.loads((out / f"{name}.json").read_text()) for name in ("train", "val")]
        assert sorted(x["id"] for part in parts for x in part["images"]) == [1, 2]
        assert sorted(len(part["annotations"]) for part in parts) == [0, 1]
        rows = [line.split() for line in output.splitlines()]
        for name, part in zip(("train", "val"), parts, strict=True):
            num_boxes = len(part["annotations"])
            assert [f"{out}/{name}.json", "1", str(1 - num_boxes), str(num_boxes)] in rows
        assert "2 classes: cat, dog" in output

    def test_names_and_seed(self, run, data, tmp_path):
        first = set()
        for seed in range(5):
            argv = ["--fractions", 0.5, 0.5, "--names", "a", "b", "--seed", seed, "--overwrite"]
            assert run("split", data(GOOD), tmp_path / "out", *argv)[0] == 0
            first.add((tmp_path / "out" / "a.json").read_text())
        assert sorted(os.listdir(tmp_path / "out")) == ["a.json", "b.json"] and len(first) == 2

    def test_existing_files_are_kept(self, run, data, tmp_path):
        (tmp_path / "val.json").write_text("mine")
        status, _, errors = run("split", data(GOOD), tmp_path, "--fractions", 0.5, 0.5)
        assert status == 2 and f"{tmp_path}/val.json exists already" in errors
        assert (tmp_path / "val.json").read_text() == "mine"
        assert not (tmp_path / "train.json").exists()

    def test_its_input_is_not_overwritten(self, run, data, tmp_path):
        json_file = data(GOOD, file="train.json")
        before = json_file.read_text()
        argv = ["split", json_file, tmp_path, "--fractions", 0.5, 0.5, "--overwrite"]
        status, _, errors = run(*argv)
        assert status == 2 and f"{json_file} is an input" in errors
        assert json_file.read_text() == before and not (tmp_path / "val.json").exists()


class TestShow:
    def test_writes_a_picture_of_as_many_images(self, run, shapes, tmp_path):
        pictures = []
        for i, options in enumerate(([], ["--seed", 1], ["--num-images", 5])):
            output = tmp_path / "new" / f"{i}.png"
            argv = ["--num-images", 1, "--output", output, *options]
            status, printed, _ = run("show", shapes / "val.json", shapes / "val", *argv)
            assert status == 0 and printed == f"{output}\n"
            pictures.append(cv2.imread(str(output)))
        assert pictures[0].shape[0] > 500 and pictures[0].std() > 10
        assert not np.array_equal(pictures[0], pictures[1])
        assert sorted(os.listdir(tmp_path / "new")) == ["0.png", "1.png", "2.png"]


class TestMisuse:
    @pytest.fixture
    def fails(self, run):
        """Runs the tool, which must fail with one sentence that has this text."""

        def _fails(text, *argv):
            status, output, errors = run(*argv)
            assert (status, output) == (2, "")
            assert errors.startswith("dataset.py: ") and errors.count("\n") == 1
            assert text in errors

        return _fails

    def test_check(self, fails, data, tmp_path):
        json_file, images = data(GOOD), tmp_path / "images"
        fails("nowhere.json", "check", "nowhere.json", images)
        fails("nowhere", "check", json_file, tmp_path / "nowhere")
        fails("y.json", "check", json_file, images, "--against", tmp_path / "y.json")
        fails("--short-edge", "check", json_file, images, "--short-edge", 0)
        (tmp_path / "y.json").write_text("{no json")
        fails("y.json is not JSON", "check", tmp_path / "y.json", images)
        (tmp_path / "y.json").write_text("[" * 100_000)
        fails("y.json is not JSON", "check", tmp_path / "y.json", images)
        (tmp_path / "y.json").write_bytes(b"\xff\xfe\x00")
        fails("y.json is not JSON", "check", tmp_path / "y.json", images)

    def test_fix_overwrites_nothing(self, fails, data, tmp_path):
        json_file = data(GOOD, OUTSIDE)
        before = json_file.read_text()
        fails("exists already", "check", json_file, tmp_path / "images", "--fix", json_file)
        assert json_file.read_text() == before
        fails(
            "none", "check", json_file, tmp_path / "images", "--fix", tmp_path / "none" / "y.json"
        )

    def test_convert(self, fails, tmp_path):
        fails("nowhere", "convert", "voc", tmp_path / "nowhere", tmp_path)
        fails("nowhere.yaml", "convert", "yolo", tmp_path / "nowhere.yaml", tmp_path)
        fails("go with voc", "convert", "yolo", "data.yaml", tmp_path, "--zero-based")
        fails("goes with yolo", "convert", "voc", tmp_path, tmp_path, "--drop-scores")
        (tmp_path / "file").touch()
        fails("file is not a folder", "convert", "voc", "nowhere", tmp_path / "file")

    def test_split(self, fails, data, tmp_path):
        json_file = data(GOOD)
        fails("fractions", "split", json_file, tmp_path, "--fractions", 0.5, 0.4)
        fails("2 images are too few", "split", json_file, tmp_path, "--fractions", 0.9, 0.1)
        halves = ["--fractions", 0.5, 0.5]
        fails("--names", "split", json_file, tmp_path, *halves, "--names", "a")
        fails("--names", "split", json_file, tmp_path, *halves, "--names", "a", "a")
        fails("annotation 1: box", "split", data(BAD), tmp_path, *halves)

    def test_show(self, fails, data, tmp_path):
        images = tmp_path / "images"
        fails("nowhere.json", "show", "nowhere.json", images)
        fails("--num-images", "show", data(GOOD), images, "--num-images", 0)
        fails("annotation 1: box [10, 10, nan, 20]", "show", data(BAD), images)
        (images / "a.png").write_text("no image")
        fails("a.png", "show", data(GOOD, file="z.json"), images)

    def test_arguments(self, run):
        for argv in ([], ["repair"], ["convert", "kitti", "a", "b"], ["check", "x.json"]):
            status, _, errors = run(*argv)
            assert status == 2 and "usage: dataset.py" in errors


SCRIPT = """
import runpy, sys
for argv in {commands}:
    sys.argv = argv
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as stop:
        status = stop.code
    assert "torch" not in sys.modules, argv
    print("status", status)
"""


def test_no_command_imports_pytorch(data, voc, tmp_path):
    """It takes seconds, as does Detectron2, which imports it."""
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat]")
    json_file, images = str(data(GOOD)), str(tmp_path / "images")
    (tmp_path / "images" / "a.txt").write_text("0 .5 .5 .5 .2")
    bad = str(data(BAD, file="bad.json"))
    tool, shapes = str(ROOT / "tools" / "dataset.py"), str(ROOT / "tools" / "make_shapes.py")
    commands = [
        [tool, "--help"],
        [tool, "convert", "voc", str(voc), str(tmp_path / "voc_json")],
        [tool, "convert", "yolo", str(tmp_path / "data.yaml"), str(tmp_path / "yolo_json")],
        [tool, "split", json_file, str(tmp_path / "parts"), "--fractions", "0.5", "0.5"],
        [tool, "slice", json_file, images, str(tmp_path / "tiles"), "--size", "64"],
        [tool, "check", json_file, images, "--against", json_file],
        [tool, "check", bad, images, "--fix", str(tmp_path / "fixed.json")],
        [tool, "show", json_file, images, "--output", str(tmp_path / "x.png")],
        [tool, "check", "nowhere.json", images],
        [tool, "suspects", "--help"],
        [shapes, "--help"],
        [shapes, str(tmp_path / "shapes"), "--num-train=1", "--num-val=1"],
    ]
    script = [sys.executable, "-c", SCRIPT.format(commands=commands)]
    result = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    statuses = [line for line in result.stdout.splitlines() if line.startswith("status")]
    # The only box of the bad file is dropped; the last but three is misused.
    assert [int(x.split()[1]) for x in statuses] == [0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0]
    assert (tmp_path / "x.png").is_file()
