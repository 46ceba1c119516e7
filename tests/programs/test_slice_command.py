"""`dataset.py slice`: the tiles of small images, with boxes worked out by hand."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from tood_d2.data.coco.tiling import lost_rows, tile_images
from tood_d2.data.images import read_image

pytest.importorskip("sahi")


@pytest.fixture
def run(load_script, monkeypatch, capsys):
    """Slices x.json with tiles of 50 px and other options: exit status, output, errors."""
    tool = load_script("tools/dataset.py")

    def _run(*argv, command="slice"):
        monkeypatch.setattr(sys, "argv", ["dataset.py", command, *map(str, argv)])
        try:
            status = tool.main()
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return _run


def pattern(width, height):
    """Pixels (H, W, 3) that tell where they are."""
    y, x = np.mgrid[:height, :width]
    return np.stack((x, y, x + y), axis=2).astype(np.uint8)


OBJECT = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 1, 8, 8], "iscrowd": 0}


@pytest.fixture
def data(tmp_path):
    """Writes x.json and images of a size, a.png unless others are named: arguments of slice."""

    def write(*annotations, size=(100, 60), names=("a.png",), **changes):
        images = []
        for i, name in enumerate(names, start=1):
            file = tmp_path / "images" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pattern(*size)).save(file)
            images.append({"id": i, "file_name": name, "width": size[0], "height": size[1]})
        content = {"info": {"year": 1}, "images": images, "annotations": [*annotations]}
        content["categories"] = [{"id": 5, "name": "cat"}, {"id": 7, "name": "dog"}]
        (tmp_path / "x.json").write_text(json.dumps(content | changes))
        return tmp_path / "x.json", tmp_path / "images", tmp_path / "out", "--size", 50

    return write


def tiles_of(tmp_path):
    """Annotations of each tile by its offset in the image."""
    content = json.loads((tmp_path / "out" / "x.json").read_text())
    offsets = {x["id"]: tuple(x["source_offset"]) for x in content["images"]}
    tiles = {offset: [] for offset in offsets.values()}
    for annotation in content["annotations"]:
        tiles[offsets[annotation["image_id"]]].append(annotation)
    return content, tiles


# Tiles of 50 px with 10 px of overlap in 100 x 60 px begin at x = 0, 40 and, moved back to fit, 50,
# and at y = 0 and 10.
GRID = [(0, 0), (40, 0), (50, 0), (0, 10), (40, 10), (50, 10)]


class TestBoxes:
    def boxes(self, run, data, tmp_path, *options, **fields):
        status, _, errors = run(*data(OBJECT | fields), *options, "--keep-empty", 1)
        assert status == 0, errors
        _, tiles = tiles_of(tmp_path)
        assert [*tiles] == GRID
        return {offset: x[0]["bbox"] for offset, x in tiles.items() if x}

    def test_box_in_one_tile_keeps_its_fractions(self, run, data, tmp_path):
        boxes = self.boxes(run, data, tmp_path, bbox=[10.5, 5.25, 4.125, 4.5])
        assert boxes == {(0, 0): [10.5, 5.25, 4.125, 4.5]}

    def test_box_at_the_edge_of_a_tile(self, run, data, tmp_path):
        # x from 38 to 50, y from 20 to 30: it ends where the last tiles begin.
        boxes = self.boxes(run, data, tmp_path, bbox=[38, 20, 12, 10])
        assert boxes == {
            (0, 0): [38, 20, 12, 10],
            (0, 10): [38, 10, 12, 10],
            (40, 0): [0, 20, 10, 10],
            (40, 10): [0, 10, 10, 10],
        }

    @pytest.mark.parametrize(
        ("ratio", "dropped"),
        [(0.1, []), (0.25, []), (0.3, [(0, 0), (50, 0)]), (1, [*GRID[:4], GRID[5]])],
    )
    def test_least_share_of_the_area(self, run, data, tmp_path, ratio, dropped):
        # x from 46 to 54, y from 40 to 60: 160 px.
        parts = {
            (0, 0): [46, 40, 4, 10],  # 40
            (40, 0): [6, 40, 8, 10],  # 80
            (50, 0): [0, 40, 4, 10],  # 40
            (0, 10): [46, 30, 4, 20],  # 80
            (40, 10): [6, 30, 8, 20],
            (50, 10): [0, 30, 4, 20],  # 80
        }
        options = "--min-area-ratio", ratio
        boxes = self.boxes(run, data, tmp_path, *options, bbox=[46, 40, 8, 20])
        assert boxes == {k: v for k, v in parts.items() if k not in dropped}

    def test_crowds_are_in_all_tiles(self, run, data, tmp_path):
        fields = {"bbox": [0, 0, 45, 12], "iscrowd": 1, "area": 270}
        boxes = self.boxes(run, data, tmp_path, "--min-area-ratio", 0.5, **fields)
        assert boxes == {
            (0, 0): [0, 0, 45, 12],
            (0, 10): [0, 0, 45, 2],
            (40, 0): [0, 0, 5, 12],
            (40, 10): [0, 0, 5, 2],
        }
        _, tiles = tiles_of(tmp_path)
        assert {x["iscrowd"] for group in tiles.values() for x in group} == {1}
        # Half of the box's 540 px; in the tile below 45 of 270 px.
        assert tiles[0, 0][0]["area"] == 270 and tiles[0, 10][0]["area"] == 45

    def test_areas_are_those_of_the_parts(self, run, data, tmp_path):
        self.boxes(run, data, tmp_path, bbox=[46, 40, 8, 20])
        _, tiles = tiles_of(tmp_path)
        assert [tiles[offset][0]["area"] for offset in ((0, 0), (40, 10))] == [40, 160]

    def test_parts_thinner_than_a_pixel_are_dropped(self, run, data, tmp_path):
        # 0.5 px of 4 are in the tiles that end at x = 50; the others begin at 40 and 50.
        boxes = self.boxes(run, data, tmp_path, bbox=[49.5, 0, 4, 9])
        assert boxes == {(40, 0): [9.5, 0, 4, 9], (50, 0): [0, 0, 3.5, 9]}

    def test_boxes_are_clipped_to_their_image(self, run, data, tmp_path):
        # 5 x 5 px of 25 x 15 are in the image, which count as the whole.
        boxes = self.boxes(run, data, tmp_path, "--min-area-ratio", 1, bbox=[-20, -10, 25, 15])
        assert boxes == {(0, 0): [0, 0, 5, 5]}

    def test_box_under_a_pixel(self, run, data, tmp_path):
        boxes = self.boxes(run, data, tmp_path, bbox=[3, 3, 0.5, 0.5])
        assert boxes == {(0, 0): [3, 3, 0.5, 0.5]}


class TestTiles:
    def test_pixels_and_content(self, run, data, tmp_path):
        status, output, _ = run(*data(OBJECT), "--keep-empty", 1)
        assert status == 0
        content, _ = tiles_of(tmp_path)
        for image in content["images"]:
            x, y = image["source_offset"]
            pixels = read_image(tmp_path / "out" / "x" / image["file_name"], "RGB")
            assert np.array_equal(pixels, pattern(100, 60)[y : y + 50, x : x + 50])
            assert (image["width"], image["height"], image["source_file"]) == (50, 50, "a.png")
        assert [x["id"] for x in content["images"]] == [1, 2, 3, 4, 5, 6]
        assert content["info"] == {"year": 1}
        assert [x["id"] for x in content["categories"]] == [5, 7]
        assert content["annotations"][0]["category_id"] == 7
        rows = [line.split() for line in output.splitlines()]
        assert [str(tmp_path / "x.json"), "1", "0", "1"] in rows
        assert [str(tmp_path / "out" / "x.json"), "6", "5", "1"] in rows
        assert f"folder of the images: {tmp_path}/out/x" in output

    @pytest.mark.parametrize(("share", "number"), [(0, 1), (0.4, 3), (1, 6)])
    def test_empty_tiles(self, run, data, tmp_path, share, number):
        run(*data(OBJECT), "--keep-empty", share)
        content, tiles = tiles_of(tmp_path)
        assert len(content["images"]) == number and (0, 0) in tiles
        files = sorted(x.name for x in (tmp_path / "out" / "x").iterdir())
        assert files == sorted(x["file_name"] for x in content["images"])

    def test_images_of_one_name(self, run, data, tmp_path):
        names = ("one/a.png", "two/a.png", "0_a.png")
        objects = [OBJECT | {"id": i, "image_id": i} for i in (1, 2, 3)]
        assert run(*data(*objects, names=names))[0] == 0
        content, _ = tiles_of(tmp_path)
        assert len({x["file_name"] for x in content["images"]}) == 3
        assert len([*(tmp_path / "out" / "x").iterdir()]) == 3

    def test_image_smaller_than_a_tile(self, run, data, tmp_path):
        assert run(*data(OBJECT, size=(40, 34)))[0] == 0
        (image,) = tiles_of(tmp_path)[0]["images"]
        assert (image["width"], image["height"], image["source_offset"]) == (40, 34, [0, 0])

    def test_many_bits_and_exif(self, run, data, tmp_path):
        """Tiles are of what training sees: 8 bits, turned as the EXIF data say."""
        arguments = data(OBJECT, size=(60, 100))
        sixteen = np.full((60, 100), 257 * 99, np.uint16)
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        Image.fromarray(sixteen).save(tmp_path / "images" / "a.png", exif=exif)
        assert run(*arguments)[0] == 0
        (image,) = tiles_of(tmp_path)[0]["images"]
        with Image.open(tmp_path / "out" / "x" / image["file_name"]) as tile:
            assert tile.size == (50, 50) and {*np.unique(tile)} == {99}

    def test_jpeg(self, run, data, tmp_path):
        assert run(*data(OBJECT), "--format", "jpg")[0] == 0
        (file,) = (tmp_path / "out" / "x").iterdir()
        with Image.open(file) as tile:
            assert file.suffix == ".jpg" and tile.format == "JPEG"

    def test_long_names(self, run, data, tmp_path):
        """Names that leave no room for an offset are shortened, not the offset."""
        arguments = data(OBJECT, names=(f"{'a' * 250}.png",))
        assert run(*arguments, "--keep-empty", 1)[0] == 0
        assert len([*(tmp_path / "out" / "x").iterdir()]) == 6

    def test_check_finds_no_problem(self, run, data, tmp_path):
        run(*data(OBJECT, OBJECT | {"id": 2, "bbox": [46, 40, 8, 20]}))
        out = tmp_path / "out"
        status, output, _ = run(out / "x.json", out / "x", command="check")
        assert status == 0 and "\nno problems\n" in output

    def test_lost_boxes_are_named(self, run, data, tmp_path, log):
        # Wider than any tile: 50 of 70 px at most.
        wide = OBJECT | {"id": 9, "bbox": [10, 10, 70, 20]}
        assert run(*data(OBJECT, wide), "--min-area-ratio", 0.9)[0] == 0
        assert "x.json: 1 boxes are in no tile" in log.text and "annotations 9" in log.text


class TestMisuse:
    @pytest.fixture
    def fails(self, run, tmp_path):
        """Gives the message; nothing is written."""

        def _fails(*argv):
            status, _, errors = run(*argv)
            assert status == 2
            assert not [*tmp_path.glob("out/*")]
            return errors

        return _fails

    @pytest.mark.parametrize(
        ("option", "value", "message"),
        [
            ("--size", 31, "tiles of 31 pixels"),
            ("--overlap", 1, "the overlap should be at least 0 and below 1, not 1.0"),
            ("--overlap", -0.1, "the overlap should be"),
            ("--min-area-ratio", 1.1, "the least share of a box should be from 0 to 1, not 1.1"),
            ("--keep-empty", 2, "--keep-empty should be from 0 to 1, not 2.0"),
        ],
    )
    def test_options(self, fails, data, option, value, message):
        assert message in fails(*data(OBJECT), option, value)

    def test_images(self, fails, data, tmp_path):
        arguments = data(OBJECT)
        image = tmp_path / "images" / "a.png"
        whole = image.read_bytes()
        for content, message in (
            (b"nothing", "a.png cannot be read: it is no image"),
            (whole[: len(whole) // 2], "a.png cannot be read"),
        ):
            image.write_bytes(content)
            assert message in fails(*arguments)
        Image.new("RGB", (99, 60)).save(image)
        assert "the image has 99 x 60 pixels" in fails(*arguments)
        image.unlink()
        assert "a.png: no such image" in fails(*arguments)

    def test_data(self, fails, data):
        assert "no box that would be in a tile" in fails(*data())
        assert "no image has its image_id 4" in fails(*data(OBJECT | {"image_id": 4}))

    def test_without_sahi(self, fails, data, monkeypatch):
        monkeypatch.setitem(sys.modules, "sahi.slicing", None)
        assert "pip install sahi" in fails(*data(OBJECT))

    @pytest.mark.parametrize("taken", ["x.json", "x"])
    def test_nothing_is_overwritten(self, run, data, tmp_path, taken):
        arguments = data(OBJECT)
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / taken).write_text("mine")
        status, _, errors = run(*arguments)
        assert status == 2 and f"out/{taken} exists already" in errors
        assert [x.name for x in (tmp_path / "out").iterdir()] == [taken]
        assert (tmp_path / "out" / taken).read_text() == "mine"

    def test_output_inside_of_a_file(self, run, data, tmp_path):
        json_file, images, *_ = data(OBJECT)
        status, _, errors = run(json_file, images, json_file / "out")
        assert status == 2 and "is no folder" in errors


@given(
    st.integers(33, 300),
    st.integers(33, 300),
    st.integers(32, 120),
    st.sampled_from([0.2, 0.35, 0.5]),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(1, 99), st.floats(1, 99))),
)
def test_tiles_cover_the_image_and_small_boxes_are_whole_in_one(width, height, size, overlap, rows):
    """Small boxes are not larger than the overlap."""
    boxes = [
        [x * max(width - w, 0), y * max(height - h, 0), min(w, width), min(h, height)]
        for x, y, w, h in rows
    ]
    content = {
        "images": [{"id": 1, "file_name": "a", "width": width, "height": height}],
        "annotations": [OBJECT | {"id": i, "bbox": box} for i, box in enumerate(boxes)],
        "categories": [{"id": 7, "name": "dog"}],
    }
    tiles = tile_images(content, size, overlap)
    covered = np.zeros((height, width), dtype=bool)
    found: list[list] = [[] for _ in boxes]
    for tile in tiles:
        left, top, right, bottom = tile.corners
        covered[top:bottom, left:right] = True
        assert right - left == min(size, width) and bottom - top == min(size, height)
        for row, annotation in zip(tile.annotation_rows, tile.annotations, strict=True):
            x, y, w, h = annotation["bbox"]
            assert min(x, y) >= 0 and x + w <= right - left and y + h <= bottom - top
            assert 0 < annotation["area"] <= w * h * 1.000001
            found[row].append([x + left, y + top, w, h])
    assert covered.all()
    for box, parts in zip(boxes, found, strict=True):
        if max(box[2:]) <= int(overlap * size):
            assert any(part == pytest.approx(box, abs=1e-9) for part in parts)
    lost = lost_rows(content, tiles)
    assert lost == [i for i, parts in enumerate(found) if not parts]
