"""Files that are written whole, and not in place of others."""

import os

import numpy as np
import pytest
from PIL import Image

from tood_d2.cli.outputs import (
    check_folder,
    check_outputs,
    check_replaceable,
    save_picture,
    short_name,
    whole_file,
)

PICTURE = np.full((4, 6, 3), 90, np.uint8)


class TestCheckOutputs:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "a.png").touch()

    def test_new_files_and_inputs_that_are_missing(self):
        check_outputs(["b.png", "new/folder/c.png"], ["a.png", "missing", "b.png"])

    @pytest.mark.parametrize("link", [os.link, os.symlink])
    def test_links_to_an_input(self, link):
        link("a.png", "link.png")
        with pytest.raises(ValueError, match="link.png is an input, a.png"):
            check_outputs(["link.png"], ["a.png"])

    def test_other_spellings_of_an_input(self):
        with pytest.raises(ValueError, match="./a.png is an input, a.png"):
            check_outputs(["./a.png"], ["a.png"])

    def test_a_folder(self, tmp_path):
        with pytest.raises(IsADirectoryError, match="is a folder"):
            check_outputs([str(tmp_path)], [])

    @pytest.mark.parametrize("path", ["a.png/b.png", "a.png/new/b.png"])
    def test_a_file_in_place_of_the_folder(self, path):
        with pytest.raises(NotADirectoryError, match="a.png is no folder"):
            check_outputs([path], [])

    def test_a_name_that_is_too_long(self):
        with pytest.raises(OSError, match="too long"):
            check_outputs(["x" * 300], [])


def test_folders_without_permission(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != str(tmp_path))
    with pytest.raises(PermissionError, match="new: no permission to write to "):
        check_folder(str(tmp_path / "new"))


class TestWholeFile:
    def test_it_is_there_at_the_end(self, tmp_path):
        path = tmp_path / "a.json"
        with whole_file(str(path)) as scratch:
            with open(scratch, "w") as file:
                file.write("[]")
            assert scratch.endswith(".json") and not path.exists()
        assert path.read_text() == "[]" and len(list(tmp_path.iterdir())) == 1

    def test_a_failure_leaves_what_was_there(self, tmp_path):
        path = tmp_path / "a.json"
        path.write_text("old")
        with (
            pytest.raises(OSError, match="a.json cannot be written: No space left on device"),
            whole_file(str(path)) as scratch,
            open(scratch, "w") as file,
        ):
            file.write("half")
            raise OSError(28, "No space left on device")
        assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1

    def test_a_link_stays_one(self, tmp_path):
        (tmp_path / "link").symlink_to("a")
        with whole_file(str(tmp_path / "link")) as scratch, open(scratch, "w") as file:
            file.write("new")
        assert (tmp_path / "a").read_text() == "new" and (tmp_path / "link").is_symlink()

    def test_devices_are_written_to(self):
        with whole_file(os.devnull) as scratch:
            assert scratch == os.devnull
        assert not os.path.isfile(os.devnull)


class TestPictures:
    @pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPEG"])
    def test_they_may_be_replaced(self, tmp_path, name):
        path = str(tmp_path / name)
        assert not check_replaceable(path)
        save_picture(PICTURE, path)
        assert check_replaceable(path)
        assert np.abs(np.asarray(Image.open(path), int) - PICTURE).max() < 3

    def test_others_may_not(self, tmp_path):
        path = tmp_path / "a.png"
        Image.fromarray(PICTURE).save(path)
        with pytest.raises(FileExistsError, match="a.png exists and is not drawn by tood_d2"):
            check_replaceable(str(path))


def test_names_are_shortened_to_what_file_systems_allow():
    assert short_name("a", "_1.png") == "a_1.png"
    assert short_name("x" * 251, "_1.png") == "x" * 249 + "_1.png"
    assert short_name("\N{SNOWMAN}" * 84, ".png") == "\N{SNOWMAN}" * 83 + ".png"  # 3 bytes each
