"""Which files of a folder are listed, and which are images."""

import os

import pytest
from PIL import Image

from tood_d2.data.files import image_formats, is_image_name, walk_files


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def names(folder):
    return [path.relative_to(folder).as_posix() for path in walk_files(folder)]


class TestWalkFiles:
    def test_lists_files_of_all_sub_folders_sorted(self, tmp_path):
        for name in ("b/c/3", "b/2", "a/1", "4"):
            touch(tmp_path / name)
        (tmp_path / "empty").mkdir()
        assert names(tmp_path) == ["4", "a/1", "b/2", "b/c/3"]

    def test_hidden_files_and_folders_are_left_out_below_the_given_one(self, tmp_path):
        folder = tmp_path / ".cache" / "data"
        hidden = ("._a.jpg", ".DS_Store", "__MACOSX/a.jpg", "s/.ipynb_checkpoints/a.jpg")
        for name in ("a.jpg", *hidden):
            touch(folder / name)
        assert names(folder) == ["a.jpg"]

    def test_links_are_followed_without_circles(self, tmp_path):
        touch(tmp_path / "elsewhere" / "s" / "1")
        touch(tmp_path / "data" / "2")
        os.symlink(tmp_path / "elsewhere", tmp_path / "data" / "link")
        os.symlink(tmp_path / "data", tmp_path / "data" / "circle")
        os.symlink(tmp_path, tmp_path / "elsewhere" / "s" / "up")
        os.symlink(tmp_path / "data" / "2", tmp_path / "data" / "other_name")
        os.symlink(tmp_path / "nowhere", tmp_path / "data" / "broken")
        assert names(tmp_path / "data") == ["2", "link/s/1", "other_name"]

    def test_a_folder_comes_before_links_to_it(self, tmp_path):
        touch(tmp_path / "b" / "1")
        os.symlink(tmp_path / "b", tmp_path / "a")
        assert names(tmp_path) == ["b/1"]

    def test_pipes_are_left_out(self, tmp_path):
        os.mkfifo(tmp_path / "a.jpg")
        assert names(tmp_path) == []

    def test_a_missing_folder_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            walk_files(tmp_path / "nowhere")


def test_images_are_told_by_the_suffixes_that_pillow_decodes():
    for name in ("a.jpg", "b.s/a.JPEG", "a.jfif", "a.tif", "a.jp2", "a.tga", "a.ppm", "a.mpo"):
        assert is_image_name(name)
    for name in ("a.eps", "a.ps", "a.wmf", "a.pdf", "a.mpg", "a.h5", "a.txt", "a.xml", "jpg"):
        assert not is_image_name(name)


def test_pillow_opens_no_programs_by_the_formats(tmp_path):
    Image.new("L", (4, 3)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.jpg")
    with pytest.raises(Image.UnidentifiedImageError):
        Image.open(tmp_path / "a.jpg", formats=image_formats())
    assert {"BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"} <= {*image_formats()}
