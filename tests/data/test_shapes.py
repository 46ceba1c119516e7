"""The data set of shapes: annotations that agree with the pixels, the same ones every time."""

import json
import runpy
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tood_d2.data.shapes import CATEGORIES, make_shapes, polygon_mask

ROOT = Path(__file__).resolve().parents[2]
NUM_TRAIN, NUM_VAL = 30, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "shapes"
    assert make_shapes(folder, NUM_TRAIN, NUM_VAL)
    return folder


def read(folder, split):
    return json.loads((folder / f"{split}.json").read_text())


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def by_image(dataset):
    """The annotations of each image, by its id."""
    annotations = {image["id"]: [] for image in dataset["images"]}
    for annotation in dataset["annotations"]:
        annotations[annotation["image_id"]].append(annotation)
    return annotations


class TestPolygonMask:
    @pytest.mark.parametrize(
        "polygon, expected",
        [
            # Centres are at halves: columns 1 to 3, row 1.
            ([(1, 1), (4, 1), (4, 2), (1, 2)], ["......", ".###..", "......", "......"]),
            # Just short of the centres of column 1 and row 0, just past those of column 4.
            (
                [(1.6, 0.6), (4.6, 0.6), (4.6, 2), (1.6, 2)],
                ["......", "..###.", "......", "......"],
            ),
            # Centres with x + y < 4.
            ([(0, 0), (4, 0), (0, 4)], ["###...", "##....", "#.....", "......"]),
            # A notch from above.
            (
                [(0, 0), (2, 0), (2, 2), (4, 2), (4, 0), (6, 0), (6, 3), (0, 3)],
                ["##..##", "##..##", "######", "......"],
            ),
            ([(-3, -3), (2, -3), (2, 2), (-3, 2)], ["##....", "##....", "......", "......"]),
            ([(7, 0), (9, 0), (9, 4)], ["......"] * 4),
        ],
        ids=["rectangle", "between centres", "triangle", "notch", "partly outside", "outside"],
    )
    def test_pixels_whose_centres_are_inside(self, polygon, expected):
        for corners in (polygon, polygon[::-1]):
            mask = polygon_mask(np.array(corners, dtype=float), height=4, width=6)
            assert ["".join(".#"[pixel] for pixel in row) for row in mask.astype(int)] == expected


class TestAnnotations:
    @pytest.mark.parametrize("split", ["train", "val"])
    def test_boxes_and_areas_are_those_of_the_pixels(self, folder, split):
        """Shapes are vivid, backgrounds not, and grain changes all channels alike."""
        dataset = read(folder, split)
        for image_id, annotations in by_image(dataset).items():
            rgb = np.array(Image.open(folder / split / f"{image_id:06d}.png")).astype(int)
            found = defaultdict(list)  # the pixels of each shape
            for y, x in np.argwhere(np.ptp(rgb, axis=2) > 90):
                red, green, blue = rgb[y, x]
                found[red - green, green - blue].append((x, y))
            measured = []
            for pixels in found.values():
                (x0, y0), (x1, y1) = np.min(pixels, axis=0), np.max(pixels, axis=0)
                measured.append(([x0, y0, x1 - x0 + 1, y1 - y0 + 1], len(pixels)))
            annotated = [(a["bbox"], a["area"]) for a in annotations]
            assert sorted(annotated) == sorted(measured), image_id

    def test_categories_are_those_of_the_shapes(self, folder):
        """By the part of its box that a shape fills; most shapes are not covered at all."""
        filled, elongation = defaultdict(list), defaultdict(list)
        for annotation in read(folder, "train")["annotations"]:
            _, _, width, height = annotation["bbox"]
            name = CATEGORIES[annotation["category_id"]]
            filled[name].append(annotation["area"] / (width * height))
            elongation[name].append(abs(np.log(width / height)))
        filled = {name: np.median(values) for name, values in filled.items()}
        assert filled["rectangle"] == 1
        assert filled["circle"] == pytest.approx(np.pi / 4, abs=0.01)
        # Upright the triangle fills 1/2, turned by 15 degrees (3 sqrt(3) / 4) / (3 cos^2 15).
        assert 0.455 < filled["triangle"] < 0.505
        # The star's area is 5 * 0.45 sin(36) = 1.32 of the squared radius; its box has sides
        # between 1 + cos(36) = 1.81 and 2 cos(18) = 1.90 radii.
        assert 1.32 / 1.90**2 - 0.01 < filled["star"] < 1.32 / 1.81**2 + 0.01
        assert np.median(elongation["circle"]) < 0.05 < np.median(elongation["rectangle"])

    @pytest.mark.parametrize(("split", "number"), [("train", NUM_TRAIN), ("val", NUM_VAL)])
    def test_form_is_that_of_coco(self, folder, split, number):
        dataset = read(folder, split)
        assert {"info", "licenses", "categories", "images", "annotations"} == dataset.keys()
        assert [c["id"] for c in dataset["categories"]] == [1, 2, 4, 5]
        assert [image["id"] for image in dataset["images"]] == list(range(1, number + 1))
        for image in dataset["images"]:
            size = Image.open(folder / split / image["file_name"]).size
            assert size == (image["width"], image["height"])
        assert len(list((folder / split).iterdir())) == number
        ids = [annotation["id"] for annotation in dataset["annotations"]]
        assert ids == list(range(1, len(ids) + 1))
        assert all(annotation["iscrowd"] == 0 for annotation in dataset["annotations"])

    def test_images_have_up_to_six_objects(self, folder):
        numbers = {id_: len(a) for id_, a in by_image(read(folder, "train")).items()}
        assert numbers.pop(30) == 0
        assert min(numbers.values()) == 1
        assert max(numbers.values()) == 6


class TestDeterminism:
    def test_same_seed_same_bytes(self, tmp_path):
        first, again = tmp_path / "first", tmp_path / "again"
        for folder in (first, again):
            make_shapes(folder, num_train=2, num_val=1)
        assert contents(again) == contents(first)

    def test_larger_data_set_extends_the_smaller(self, folder, tmp_path):
        make_shapes(tmp_path / "small", num_train=3, num_val=1)
        small, large = read(tmp_path / "small", "train"), read(folder, "train")
        number = len(small["annotations"])
        assert small["annotations"] == large["annotations"][:number]
        image = Path("train", "000003.png")
        assert contents(tmp_path / "small")[image] == contents(folder)[image]

    def test_splits_and_seeds_differ(self, folder, tmp_path):
        make_shapes(tmp_path / "other", 1, 1, seed=1)
        other, files = contents(tmp_path / "other"), contents(folder)
        first = [Path(split, "000001.png") for split in ("train", "val")]
        assert len({other[first[0]], other[first[1]], files[first[0]], files[first[1]]}) == 4


class TestExistingFolder:
    def test_same_data_set_is_kept(self, folder):
        times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        assert not make_shapes(folder, NUM_TRAIN, NUM_VAL)
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times

    @pytest.mark.parametrize(
        "changed", [{"num_train": NUM_TRAIN + 1}, {"num_val": NUM_VAL + 1}, {"seed": 1}]
    )
    def test_other_data_set_is_refused(self, folder, changed):
        before = contents(folder)
        with pytest.raises(FileExistsError, match=str(folder)):
            make_shapes(folder, **{"num_train": NUM_TRAIN, "num_val": NUM_VAL, **changed})
        assert contents(folder) == before

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"info": null}'])
    def test_anything_else_is_refused(self, tmp_path, text):
        (tmp_path / "train.json").write_text(text)
        with pytest.raises(FileExistsError, match=str(tmp_path)):
            make_shapes(tmp_path, 1, 1)
        assert contents(tmp_path) == {Path("train.json"): text.encode()}

    def test_file_is_refused(self, tmp_path):
        path = tmp_path / "file"
        path.write_text("precious")
        with pytest.raises(FileExistsError, match=str(path)):
            make_shapes(path, 1, 1)
        assert path.read_text() == "precious"

    def test_empty_folder_is_filled(self, tmp_path):
        assert make_shapes(tmp_path, 1, 1)
        assert len(contents(tmp_path)) == 4

    def test_interrupted_run_leaves_nothing(self, tmp_path, monkeypatch):
        def interrupt(*args, **kwargs):
            raise KeyboardInterrupt

        monkeypatch.setattr(Image.Image, "save", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_shapes(tmp_path / "shapes", 1, 1)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"num_train": 0}, {"num_val": -1}, {"seed": -1}])
def test_wrong_numbers_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="at least"):
        make_shapes(tmp_path / "shapes", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_the_command_makes_the_data_once(tmp_path, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["make_shapes.py", *arguments])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / "tools" / "make_shapes.py"), run_name="__main__")
        return stop.value.code, *capsys.readouterr()

    folder = str(tmp_path / "deep" / "shapes")
    assert run(folder, "--num-train=2", "--num-val=1")[:2] == (0, f"{folder}: made.\n")
    assert len(read(Path(folder), "train")["images"]) == 2
    assert run(folder, "--num-train=2", "--num-val=1")[:2] == (
        0,
        f"{folder}: already there, nothing to do.\n",
    )
    code, _, error = run(folder, "--num-train=3", "--num-val=1")
    assert code == 2
    assert folder in error and error.count("\n") == 1
