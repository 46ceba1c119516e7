"""Copies of pictures among others, made here; nobody else's pictures are needed."""

import sys

import numpy as np
import pytest
from PIL import ExifTags, Image

from tood_d2.cli.requirements import MissingRequirement
from tood_d2.data.coco import similarity
from tood_d2.data.coco.similarity import check_similar, find_similar

pytest.importorskip("imagehash")


def photo(seed, size=(320, 240)):
    """Something blurred, another picture for each seed."""
    coarse = np.random.default_rng(seed).integers(256, size=(12, 16, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def save(tmp_path):
    """Saves an image; gives its path."""

    def _save(image, name, **options):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        image.save(path, **options)
        return str(path)

    return _save


class TestFindSimilar:
    def test_other_pictures_are_not_similar(self, save):
        paths = [save(photo(seed), f"{seed}.jpg") for seed in range(20)]
        assert find_similar(paths[:10], paths[10:]) == []

    def test_the_same_pixels_in_another_file_are_identical(self, save):
        a, b = save(photo(0), "a.png"), save(photo(0), "b.bmp")
        other = save(photo(1), "c.png")
        assert find_similar([other, a], [b, other]) == [
            (other, other, "identical"),
            (a, b, "identical"),
        ]

    @pytest.mark.parametrize("size", [(320, 240), (160, 120), (107, 80), (640, 480), (224, 224)])
    def test_a_resized_and_compressed_copy_is_near_identical(self, save, size):
        a = save(photo(0), "a.png")
        b = save(photo(0).resize(size), "b.jpg", quality=30)
        assert find_similar([a], [save(photo(1), "c.jpg"), b]) == [(a, b, "near-identical")]

    def test_a_large_jpeg_that_is_decoded_smaller_is_still_recognized(self, save):
        a = save(photo(0, (2048, 1536)), "a.jpg")
        b = save(photo(0), "b.png")
        assert find_similar([a], [b]) == [(a, b, "near-identical")]

    def test_a_copy_that_is_turned_by_its_exif_data_is_found(self, save):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        a = save(photo(0), "a.png")
        b = save(photo(0).transpose(Image.Transpose.ROTATE_90), "b.jpg", exif=exif)
        assert find_similar([a], [b]) == [(a, b, "near-identical")]

    def test_images_of_16_bits_are_not_all_white(self, save):
        greys = [np.asarray(photo(seed).convert("L")).astype(np.uint16) * 257 for seed in (0, 1)]
        a, b = (save(Image.fromarray(x), f"{i}.png") for i, x in enumerate(greys))
        copy = save(photo(1), "copy.jpg")
        assert find_similar([a, b], [copy]) == [(b, copy, "near-identical")]

    def test_a_single_colour_is_no_likeness(self, save):
        red, blue = (save(Image.new("RGB", (64, 48), x), f"{x}.png") for x in ("red", "blue"))
        copy = save(Image.new("RGB", (64, 48), "red"), "copy.png")
        assert find_similar([red], [blue, copy]) == [(red, copy, "identical")]

    def test_all_blocks_are_compared(self, save, monkeypatch):
        monkeypatch.setattr(similarity, "_BLOCK", 2)
        paths = [save(photo(seed), f"{seed}.png") for seed in range(5)]
        assert find_similar(paths, paths) == [(x, x, "identical") for x in paths]

    def test_files_that_cannot_be_read_are_logged_and_left_out(self, save, tmp_path, caplog):
        a = save(photo(0), "a.png")
        (tmp_path / "b.png").write_text("no image")
        broken, missing = str(tmp_path / "b.png"), str(tmp_path / "c.png")
        assert find_similar([broken, a], [a, missing]) == [(a, a, "identical")]
        (record,) = caplog.records
        assert broken in record.message and "and 1 more" in record.message

    @pytest.mark.parametrize("lists", [([], []), (["a"], []), ([], ["a"])])
    def test_nothing_to_compare(self, lists):
        assert find_similar(*lists) == []

    def test_a_missing_imagehash_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "imagehash", None)
        with pytest.raises(MissingRequirement, match="pip install ImageHash"):
            find_similar(["a.png"], ["b.png"])


class TestCheckSimilar:
    def content(self, *file_names):
        images = [{"id": i, "file_name": name} for i, name in enumerate(file_names)]
        return {"images": images, "annotations": [], "categories": []}

    def check(self, train, test, tmp_path, folders=("train", "val")):
        contents = self.content(*train), self.content(*test)
        roots = [str(tmp_path / x) for x in folders]
        return check_similar(*contents, "train.json", "val.json", *roots)

    def test_each_test_image_is_reported_once(self, save, tmp_path):
        save(photo(0), "train/a.png")
        save(photo(0), "train/b.png")
        save(photo(1), "train/c.png")
        save(photo(0), "val/x.png")
        save(photo(1), "val/y.jpg", quality=50)
        save(photo(2), "val/z.png")
        problems = self.check(["a.png", "b.png", "c.png"], ["x.png", "y.jpg", "z.png"], tmp_path)
        assert [(x.kind, x.where, x.fatal) for x in problems] == [
            ("identical-image", "train.json, val.json", False),
            ("similar-image", "train.json, val.json", False),
        ]
        train, val = tmp_path / "train", tmp_path / "val"
        first, second = (x.message for x in problems)
        assert first.startswith(f"{val}/x.png is the same picture as {train}/a.png and 1 more")
        assert second.startswith(f"{val}/y.jpg looks like {train}/c.png to train on")

    def test_the_same_file_is_left_to_the_comparison_of_names(self, save, tmp_path):
        save(photo(0), "all/a.png")
        assert self.check(["a.png"], ["a.png"], tmp_path, ("all", "all")) == []

    def test_without_imagehash_it_says_that_nothing_was_compared(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "imagehash", None)
        for folder in ("train", "val"):
            (tmp_path / folder).mkdir()
        (problem,) = self.check(["a.png"], ["b.png"], tmp_path)
        assert (problem.kind, problem.fatal) == ("not-compared", False)
        assert "pip install ImageHash" in problem.message
