"""Images that a command line names."""

import io
import json
import os
import tarfile

import fsspec
import numpy as np
import pytest
from PIL import Image

pyarrow = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402

from tood_d2.batch_prediction.items import Item, Row, read_items  # noqa: E402
from tood_d2.batch_prediction.sources import find_items  # noqa: E402


def png(grey):
    """The bytes of an image of one pixel."""
    file = io.BytesIO()
    Image.fromarray(np.full((1, 1), grey, np.uint8)).save(file, "png")
    return file.getvalue()


@pytest.fixture
def files(tmp_path):
    """Seven files, four of them images that are not hidden, in folders."""
    for number, name in enumerate(("b.png", "a.jpg", "in/c.png", "in/deep/d.PNG")):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(png(number))
    for name in (".hidden.png", "__MACOSX/x.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def names(*inputs, **kwargs):
    return [x.file_name for x in find_items([*map(str, inputs)], **kwargs)]


def contents(*inputs, **kwargs):
    return [x for _, x in read_items(find_items([*map(str, inputs)], **kwargs))]


class TestSources:
    def test_a_folder_with_those_below(self, files):
        assert names(files) == ["a.jpg", "b.png", "in/c.png", "in/deep/d.PNG"]
        assert contents(files) == [png(x) for x in (1, 0, 2, 3)]

    def test_files_and_globs(self, files):
        assert names(files / "b.png", files / "*.jpg") == ["b.png", "a.jpg"]
        assert names(files / "**" / "*.png") == ["b.png", "in/c.png"]

    def test_a_list(self, files):
        (files / "list.txt").write_text(f"in/c.png\n\n{files}/a.jpg\n")
        assert names(files / "list.txt") == ["in/c.png", f"{files}/a.jpg"]
        assert contents(files / "list.txt") == [png(2), png(1)]
        assert contents(files / "list.txt", images=f"{files}/in/..") == [png(2), png(1)]

    def test_a_coco_file(self, files):
        images = [{"id": 7, "file_name": "c.png"}, {"id": 5, "file_name": "deep/d.PNG"}]
        (files / "coco.json").write_text(json.dumps({"images": images}))
        items = find_items([str(files / "coco.json")], images=str(files / "in"))
        assert [(x.file_name, x.image_id) for x in items] == [("c.png", 7), ("deep/d.PNG", 5)]
        assert [x for _, x in read_items(items)] == [png(2), png(3)]

    def test_a_parquet_file_of_paths(self, files):
        table = {"path": ["b.png", str(files / "a.jpg")], "image_id": [3, None]}
        parquet.write_table(pyarrow.table(table), files / "paths.parquet")
        items = find_items([str(files / "paths.parquet")])
        assert [(x.file_name, x.image_id) for x in items] == [
            ("b.png", 3),
            (f"{files}/a.jpg", None),
        ]
        assert contents(files / "paths.parquet") == [png(0), png(1)]

    @pytest.mark.parametrize("row_group_size", [1, 3, 100])
    def test_a_parquet_file_of_bytes(self, tmp_path, row_group_size):
        values = [png(x) for x in range(10)]
        path = tmp_path / "images.parquet"
        parquet.write_table(pyarrow.table({"bytes": values}), path, row_group_size=row_group_size)
        items = find_items([str(path)])
        assert [x.file_name for x in items[:2]] == ["images.parquet/0", "images.parquet/1"]
        for part in (items, items[3:8], items[9:]):
            expected = [values[x.part.number] for x in part]
            assert [x for _, x in read_items(part)] == expected

    def test_names_of_bytes(self, tmp_path):
        table = {"bytes": [png(0), None], "file_name": ["one.png", "none.png"], "image_id": [1, 2]}
        parquet.write_table(pyarrow.table(table), tmp_path / "x.parquet")
        (_, first), (item, second) = read_items(find_items([str(tmp_path / "x.parquet")]))
        assert first == png(0) and item[:2] == ("none.png", 2)
        assert isinstance(second, ValueError)

    def test_an_archive(self, files):
        with tarfile.open(files / "all.tar", "w") as archive:
            archive.add(files / "in", "in")
            archive.add(files / "notes.txt", "notes.txt")
            archive.add(files / "b.png", "b.png")
        assert names(files / "all.tar") == ["in/c.png", "in/deep/d.PNG", "b.png"]
        assert contents(files / "all.tar") == [png(2), png(3), png(0)]

    def test_a_glob_of_archives_and_lists(self, files):
        for number, name in enumerate(("x0.tar", "x1.tar")):
            with tarfile.open(files / name, "w") as archive:
                archive.add(files / ("a.jpg", "b.png")[number], f"{number}.png")
        (files / "x2.txt").write_text("in/c.png\n")
        assert names(files / "x*") == ["0.png", "1.png", "in/c.png"]
        assert contents(files / "x*") == [png(1), png(0), png(2)]

    def test_other_file_systems(self, files):
        memory = fsspec.filesystem("memory")
        for name in ("bucket/x/1.png", "bucket/2.png"):
            memory.pipe_file(f"/{name}", png(len(name)))
        with tarfile.open(files / "all.tar", "w") as archive:
            archive.add(files / "b.png", "b.png")
        memory.pipe_file("/bucket/all.tar", (files / "all.tar").read_bytes())
        memory.pipe_file("/bucket/list.txt", b"x/1.png\n")
        try:
            assert names("memory://bucket") == ["2.png", "x/1.png"]
            assert contents("memory://bucket/*.png") == [png(12)]
            assert contents("memory://bucket/all.tar", "memory://bucket/list.txt") == [
                png(0),
                png(14),
            ]
        finally:
            memory.rm("/bucket", recursive=True)


class TestErrors:
    def test_what_has_no_image_is_named(self, files):
        for name in ("nothing", "nothing/*.png", "in/deep/*.jpg"):
            with pytest.raises(
                FileNotFoundError, match=f"{name.replace('*', '.')}: no image in it"
            ):
                names(files / name)

    @pytest.mark.parametrize(
        ("name", "content", "reason"),
        [
            ("x.json", b"[1]", "no COCO file"),
            ("x.json", b"{", "Expecting"),
            ("x.json", b'{"images": [{"id": 1}]}', "file_name"),
            ("x.parquet", b"no table", ""),
            ("x.tar", b"no archive" * 100, ""),
            ("x.txt", b"\xff\xfe\xff", "decode"),
        ],
    )
    def test_damaged_files_are_named(self, tmp_path, name, content, reason):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}: .*{reason}"):
            names(tmp_path / name)

    def test_a_table_without_images_is_named(self, tmp_path):
        parquet.write_table(pyarrow.table({"name": ["a.png"]}), tmp_path / "x.parquet")
        with pytest.raises(ValueError, match=r'x\.parquet: it has no column "path" or "bytes"'):
            names(tmp_path / "x.parquet")

    def test_two_images_of_one_name_are_refused(self, files):
        with pytest.raises(ValueError, match=r"c\.png is also the name of "):
            (files / "c.png").write_bytes(png(9))
            names(files / "c.png", files / "in" / "c.png")

    def test_images_that_are_named_again_are_read_once(self, files):
        assert names(files / "b.png", files / "b.png", files / "?.png") == ["b.png"]

    def test_rows_that_are_gone_come_with_their_reason(self, tmp_path):
        path = tmp_path / "x.parquet"
        parquet.write_table(pyarrow.table({"bytes": [png(0), png(1)]}), path)
        items = find_items([str(path)])
        parquet.write_table(pyarrow.table({"bytes": [png(2)]}), path)
        (_, first), (item, second) = read_items(items)
        assert first == png(2) and item == items[1] and "has no such row" in str(second)

    def test_what_cannot_be_read_comes_with_its_reason(self, files):
        with tarfile.open(files / "all.tar", "w") as archive:
            archive.add(files / "b.png", "b.png")
        items = [
            Item("gone.png", None, str(files / "gone.png")),
            *find_items([str(files / "all.tar")]),
        ]
        size = items[1].part.start + 10
        os.truncate(files / "all.tar", size)
        items.append(Item("row", None, str(files / "gone.parquet"), Row(3)))
        found = [x for _, x in read_items(items)]
        assert isinstance(found[0], FileNotFoundError)
        assert "ends within b.png" in str(found[1])
        assert isinstance(found[2], FileNotFoundError)
