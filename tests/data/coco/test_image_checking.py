"""Problems of image files, found by the images' ids, and solved."""

import numpy as np
import pytest
from PIL import Image

from tood_d2.data.coco.checking import check_annotations
from tood_d2.data.coco.fixing import TooMuchLost, fix
from tood_d2.data.coco.image_checking import check_images


def only(problems):
    (problem,) = problems
    return problem


@pytest.fixture
def images(content, tmp_path):
    """Folder with the images of the content."""
    (tmp_path / "sub").mkdir()
    rng = np.random.default_rng(0)
    for image in content["images"]:
        pixels = rng.integers(256, size=(image["height"], image["width"], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / image["file_name"])
    return tmp_path


class TestImageFiles:
    def check(self, content, images):
        return check_images(content, "x.json", images)

    def fixed(self, content, images):
        fixed, changes = fix(content, self.check(content, images), "x.json")
        assert check_annotations(fixed, "x.json") == [] and not any(
            x.fatal for x in self.check(fixed, images)
        )
        return fixed, changes

    def test_good_images_have_no_problems(self, content, images):
        assert self.check(content, images) == []

    def test_missing_images_are_named(self, content, images):
        (images / "b.png").unlink()
        problem = only(self.check(content, images))
        assert (problem.kind, problem.fatal) == ("missing-image", True)
        assert problem.where == "x.json: image 20 (b.png)"
        assert str(images / "b.png") in problem.message

    @pytest.mark.parametrize("end", [0, 100, -50])
    def test_unreadable_images_are_named_and_dropped(self, content, images, end):
        path = images / "b.png"
        path.write_bytes(path.read_bytes()[:end])
        problem = only(self.check(content, images))
        assert (problem.kind, problem.fatal) == ("unreadable-image", True)
        assert problem.where == "x.json: image 20 (b.png)"
        fixed, changes = self.fixed(content, images)
        assert [x["id"] for x in fixed["images"]] == [7]
        assert [x["id"] for x in fixed["annotations"]] == [1]
        assert ["image 20" in changes[0], "annotation 5" in changes[1]] == [True, True]

    def test_an_image_of_too_many_pixels_is_not_decoded(self, content, images, huge_png):
        (images / "b.png").write_bytes(huge_png)
        problem = only(self.check(content, images))
        assert (problem.kind, problem.fatal) == ("unreadable-image", True)
        assert "more than 179 megapixels" in problem.message

    def test_a_truncated_jpeg_is_unreadable(self, content, images):
        Image.effect_noise((64, 48), 50).save(images / "b.jpg")
        (images / "b.jpg").write_bytes((images / "b.jpg").read_bytes()[:-200])
        content["images"][1]["file_name"] = "b.jpg"
        assert only(self.check(content, images)).kind == "unreadable-image"

    def test_a_wrong_size_is_found_and_corrected(self, content, images):
        content["images"][1] |= {"width": 90, "height": 50}
        content["annotations"].append(
            {**content["annotations"][1], "id": 6, "bbox": [50, 0, 30, 30]}
        )
        problem = only(self.check(content, images))
        assert (problem.kind, problem.fatal) == ("wrong-size", True)
        assert problem.where == "x.json: image 20 (b.png)" and problem.change == {
            "width": 64,
            "height": 48,
        }
        assert "90 x 50" in problem.message and "64 x 48" in problem.message
        # The box does not reach out of its image before the size is corrected.
        fixed, changes = self.fixed(content, images)
        assert fixed["images"][1] == {
            "id": 20,
            "file_name": "b.png",
            "width": 64,
            "height": 48,
        }
        assert fixed["annotations"][2]["bbox"] == [50, 0, 14, 30]
        assert len(changes) == 2

    def test_a_missing_size_is_filled_in(self, content, images):
        del content["images"][1]["width"]
        fixed, _ = self.fixed(content, images)
        assert fixed["images"][1]["width"] == 64

    def save_turned(self, images, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.new("RGB", (64, 48)).save(images / "b.png", exif=exif)

    @pytest.mark.parametrize("orientation", [5, 6, 7, 8])
    def test_a_size_before_turning_is_fatal_and_fixed(self, content, images, orientation):
        self.save_turned(images, orientation)
        problem = only(self.check(content, images))
        assert (problem.kind, problem.fatal) == ("exif-unturned", True)
        assert problem.where == "x.json: image 20 (b.png)" and problem.change == {
            "width": 48,
            "height": 64,
        }
        # Its box, all of the image, is turned with it.
        fixed, changes = self.fixed(content, images)
        assert fixed["images"][1] | {"width": 48, "height": 64} == fixed["images"][1]
        assert [x["bbox"] for x in fixed["annotations"]] == [[10, 10, 30, 20], [0, 0, 48, 64]]
        assert len(changes) == 2 and "is turned with it" in changes[1]

    def test_boxes_of_the_turned_view_stay(self, content, images):
        self.save_turned(images, 6)
        content["annotations"][1] |= {"bbox": [4, 50, 40, 12], "area": 480}  # below 48
        fixed, changes = self.fixed(content, images)
        assert fixed["annotations"][1]["bbox"] == [4, 50, 40, 12]
        assert "boxes are of the turned views" in changes[1]

    def test_a_size_after_turning_is_mentioned(self, content, images):
        self.save_turned(images, 6)
        content["images"][1] |= {"width": 48, "height": 64}
        problem = only(self.check(content, images))
        assert (problem.kind, problem.fatal) == ("exif-turned", False)

    def test_an_image_upside_down_is_mentioned(self, content, images):
        self.save_turned(images, 3)
        assert only(self.check(content, images)).kind == "exif-turned"

    def test_an_upright_image_has_no_problem(self, content, images):
        self.save_turned(images, 1)
        assert self.check(content, images) == []

    def test_images_under_other_names_are_found(self, content, images):
        content["images"][0]["file_name"] = "https://host/data/a.png?size=9"
        content["images"][1]["file_name"] = r"C:\data\B.png"
        problems = self.check(content, images)
        assert [(x.kind, x.fatal) for x in problems] == [("other-name", False)] * 2
        fixed, changes = self.fixed(content, images)
        assert [x["file_name"] for x in fixed["images"]] == ["sub/a.png", "b.png"]
        assert self.check(fixed, images) == [] and len(changes) == 2

    def test_16_bits_and_pages_are_mentioned(self, content, images):
        pages = [Image.new("I;16", (64, 48), value) for value in (1000, 2000)]
        pages[0].save(images / "b.tif", save_all=True, append_images=pages[1:])
        content["images"][1]["file_name"] = "b.tif"
        problems = self.check(content, images)
        assert [(x.kind, x.fatal) for x in problems] == [("many-bits", False), ("pages", False)]
        assert "16 bits" in problems[0].message and "2 pages" in problems[1].message

    def test_lost_images_are_not_dropped_in_numbers(self, content, images):
        for path in (images / "b.png", images / "sub" / "a.png"):
            path.unlink()
        with pytest.raises(TooMuchLost, match="would drop 2 of 2 images"):
            self.fixed(content, images)
