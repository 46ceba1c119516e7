"""Images are found under the names that labelling tools give them, if one file alone is meant."""

import os

import pytest

from tood_d2.data.coco.image_files import describe_missing, find_image_files


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "sub/b.png", "x/c.png", "y/c.png", "100% sure.png", "Café.jpg", ".d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def find(folder, *names):
    found = find_image_files(names, folder)
    return [path and os.path.relpath(path, folder) for path in found]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", "a.png"),
        ("sub/b.png", "sub/b.png"),
        ("/label-studio/data/upload/4/a.png", "a.png"),
        ("../../media/b.png", "sub/b.png"),
        (r"C:\images\a.png", "a.png"),
        (r"sub\b.png", "sub/b.png"),
        ("https://host/images/a.png", "a.png"),
        ("https://host/a.png?token=1/2#x", "a.png"),
        ("s3://bucket/sub/b.png", "sub/b.png"),
        ("100% sure.png", "100% sure.png"),
        ("100%25%20sure.png", "100% sure.png"),
        ("A.PNG", "a.png"),
        ("Cafe\u0301.jpg", "Café.jpg"),  # as macOS writes it
        ("caf%C3%A9.jpg", "Café.jpg"),
        ("../ls/media/upload/1/01dd2175-a.png", "a.png"),  # as Label Studio stores an upload
        ("/data/upload/1/01dd2175-100%25%20sure.png", "100% sure.png"),
        ("01DD2175-a.png", None),
        ("elsewhere/y/c.png", "y/c.png"),  # the folder before it tells which
        ("c.png", None),
        ("z/c.png", None),
        ("d.png", None),
        (".d.png", ".d.png"),  # whoever names a hidden file means it
        ("e.png", None),
        ("", None),
        ("\0", None),
        ("\ud800", None),
    ],
)
def test_the_obvious_file_is_found(folder, name, expected):
    assert find(folder, name) == [expected]


def test_one_file_is_not_taken_for_two_images(folder):
    assert find(folder, "cam1/a.png", "cam2/a.png", "cam1/b.png") == [None, None, "sub/b.png"]
    assert find(folder, "a.png", "cam2/a.png") == ["a.png", None]
    assert find(folder, "q/a.png", "q/a.png") == ["a.png", "a.png"]  # listed twice


def test_two_uploads_of_one_name_are_not_one_image(folder):
    assert find(folder, "01dd2175-a.png", "69759504-a.png") == [None, None]
    (folder / "69759504-a.png").touch()
    assert find(folder, "up/01dd2175-a.png", "up/69759504-a.png") == ["a.png", "69759504-a.png"]


def test_what_is_missing_is_described(folder):
    expected = "2 files are called c.png, such as x/c.png and y/c.png"
    assert describe_missing("z/c.png", folder) == expected
    assert "a.png has its last name, but several" in describe_missing("cam1/a.png", folder)
    assert describe_missing("e.png", folder) == "the folder has 6 files, such as 100% sure.png"
    (folder / "empty").mkdir()
    assert describe_missing("e.png", folder / "empty") == "the folder has 0 files"
