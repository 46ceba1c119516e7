"""Image files that are named on a command line, their pictures and results."""

import os

import pytest

from tood_d2.inference.image_files import find_images, num_others, output_paths, result_names


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """Makes files, empty ones, by their paths in the working folder."""
    monkeypatch.chdir(tmp_path)

    def make(*paths):
        for path in paths:
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            open(path, "w").close()

    return make


class TestFindImages:
    def test_folders_have_images_of_any_suffix_but_no_hidden_ones(self, files):
        files("d/b.webp", "d/a.JP2", "d/._a.jpg", "d/.DS_Store", "d/notes.txt", "d/sub/c.png")
        os.mkdir("d/folder.png")
        assert find_images(["d"]) == ["d/a.JP2", "d/b.webp"]

    def test_images_in_lower_folders_are_counted(self, files):
        files("d/x/a.png", "d/y/z/b.jpg", "d/notes.txt", "e/notes.txt")
        with pytest.raises(FileNotFoundError, match="^d: no image in it, but 2 in folders below"):
            find_images(["d"])
        with pytest.raises(FileNotFoundError, match="^e: no image in it$"):
            find_images(["e"])

    def test_globs(self, files):
        files("d/a.png", "d/a.txt", "d/s/b.png", "e/only.txt")
        assert find_images(["d/*", "d/**/b*"]) == ["d/a.png", "d/s/b.png"]
        assert find_images(["e/*"]) == ["e/only.txt"]  # is told to be no image when it is read
        with pytest.raises(FileNotFoundError, match=r"^none/\*: no such image$"):
            find_images(["none/*"])

    def test_names_with_the_signs_of_globs(self, files):
        files("d[1]/a.png", "d1/b.png", "c*.png", "cc.png")
        assert find_images(["d[1]"]) == find_images(["d[1]/*.png"]) == ["d[1]/a.png"]
        assert find_images(["c*.png"]) == ["c*.png"]

    def test_circles_and_repetitions(self, files, caplog):
        files("d/a.png", "d/e/b.png")
        os.symlink("..", "d/e/loop")
        os.symlink("a.png", "d/z.png")  # another name, as data sets of links have them
        found = find_images(["d/**/*.png", "d/a.png", os.path.abspath("d/a.png")])
        assert found == ["d/a.png", "d/z.png", "d/e/b.png"]
        assert "images are named again" in caplog.text

    def test_pipes_are_not_waited_for(self, files):
        os.mkfifo("p.png")
        assert find_images(["p.png"]) == find_images(["p*"]) == ["p.png"]


class TestOutputPaths:
    def test_equal_names_are_numbered(self):
        paths = ["a/x.png", "b/x.png", "c/X.PNG", "x_1.png", "x.tif", "y.JPG"]
        names = ["x.png", "x_1.png", "X_2.PNG", "x_1_1.png", "x_3.png", "y.JPG"]
        assert output_paths(paths, "out") == [f"out/{name}" for name in names]

    def test_long_names_are_shortened(self):
        paths = [f"{folder}/{'x' * 250}.webp" for folder in "ab"]
        expected = [f"out/{'x' * 250}.png", f"out/{'x' * 249}_1.png"]
        assert output_paths(paths, "out") == expected

    def test_many_equal_names(self):
        assert len({*output_paths([f"{i}/x.png" for i in range(20_000)], "out")}) == 20_000


class TestResultNames:
    def test_different_names(self, caplog):
        names = result_names(["a/000007.jpg", "b/x.png", "b/12.tar.png"])
        assert names == [("000007.jpg", 7), ("x.png", "x"), ("12.tar.png", "12.tar")]
        assert not caplog.messages

    def test_equal_names_get_their_folders(self):
        names = result_names(["d/1/7.png", "d/2/7.png", "d/2/3/x.png"])
        assert names == [("1/7.png", "1/7"), ("2/7.png", "2/7"), ("2/3/x.png", "2/3/x")]

    @pytest.mark.parametrize("names", [["1.png", "01.png"], ["a.jpg", "a.png"]])
    def test_equal_ids_become_names(self, names, caplog):
        names = [*names, "5.png"]
        assert result_names([f"d/{x}" for x in names]) == [(x, x) for x in names]
        assert f"{names[0]} and {names[1]} would have the same image_id" in caplog.text

    def test_no_images(self):
        assert result_names([]) == []


def test_other_images_of_the_output_folder(files):
    files("out/a.png", "out/b.png", "out/c.json")
    assert num_others(["out/a.png"], "out") == 1
    assert num_others(["out/a.png"], "none") == 0
