"""The contact sheet of a data set: which images, and the numbers of the histograms."""

import io

import numpy as np
import pytest
from PIL import Image

from tood_d2.data.coco.figures import COLUMNS, MAX_CLASSES, draw_dataset


@pytest.fixture
def draw(tmp_path):
    """Draws five white images, 60 x 40; the first has three boxes, the second one, the others none.

    Takes other boxes, (position of the image, category id, box), and the number of categories.
    """
    boxes = [
        (0, 0, [10, 10, 16, 4]),
        (0, 1, [5, 20, 8, 8]),
        (0, 1, [20, 20, 0, 9]),
        (1, 1, [0, 0, 32, 32]),
    ]
    Image.new("RGB", (60, 40), "white").save(tmp_path / "white.png")

    def _draw(boxes=boxes, names=("cat", "dog"), num_images=12, seed=0):
        image = {"file_name": "white.png", "width": 60, "height": 40}
        content = {
            "images": [image | {"id": i} for i in range(5)],
            "annotations": [
                {"id": i, "image_id": row, "category_id": c, "bbox": box}
                for i, (row, c, box) in enumerate(boxes, start=1)
            ],
            "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
        }
        paths = [str(tmp_path / x["file_name"]) for x in content["images"]]
        return draw_dataset(content, paths, num_images, seed)

    return _draw


def parts(figure):
    """Titles of the images, and the four axes of the histograms."""
    top, bottom = figure.subfigs
    return [ax.get_title() for ax in top.axes if ax.get_title()], bottom.axes


def bars(ax):
    """{middle of a bar: its height}, without empty bars."""
    return {x.get_x() + x.get_width() / 2: x.get_height() for x in ax.patches if x.get_height()}


def render(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer)
    return np.array(Image.open(buffer))


def test_histograms_of_sizes_and_aspect_ratios(draw):
    size, ratio, _, _ = parts(draw())[1]
    # 16 x 4 and 8 x 8 have size 8, 32 x 32 has 32; the box without width is not counted.
    assert list(bars(size).values()) == [2, 1]
    assert list(bars(size)) == pytest.approx([8, 32], rel=0.1)
    assert list(bars(ratio).values()) == [2, 1]
    assert list(bars(ratio)) == pytest.approx([1, 4], rel=0.1)
    assert size.get_xscale() == ratio.get_xscale() == "log"


def test_histograms_of_images_and_classes(draw):
    _, _, numbers, classes = parts(draw())[1]
    assert bars(numbers) == {0: 3, 1: 1, 3: 1}
    assert [x.get_text() for x in classes.get_yticklabels()] == ["dog", "cat"]
    assert [x.get_width() for x in classes.patches] == [3, 1]


def test_many_boxes_are_binned_and_rare_classes_left_out(draw):
    boxes = [(0, 0, [1, 2, 3, 4])] * 100
    _, _, numbers, classes = parts(draw(boxes, [str(i) for i in range(30)]))[1]
    assert sum(bars(numbers).values()) == 5
    assert len(classes.patches) == MAX_CLASSES
    assert "10 rarer classes" in classes.get_xlabel()


@pytest.mark.parametrize("num_images", [1, 4, 5, 12])
def test_as_many_images_as_wanted_or_all(draw, num_images):
    figure = draw(num_images=num_images)
    titles, _ = parts(figure)
    assert len(set(titles)) == min(num_images, 5)
    assert figure.get_figheight() == pytest.approx(3 * (-(-len(titles) // COLUMNS) + 1))


def test_the_seed_chooses_the_images(draw):
    first, again, *others = (parts(draw(num_images=2, seed=i))[0] for i in (0, 0, 1, 2))
    assert first == again and len({tuple(x) for x in (first, *others)}) > 1


def test_boxes_are_drawn_at_their_place_with_the_name_of_their_class(draw, tmp_path):
    Image.new("RGB", (960, 640), "white").save(tmp_path / "white.png")
    figure = draw([(0, 1, [400, 200, 300, 350])], ["cat", "US$ or $\\oops$"], num_images=5)
    ax = figure.subfigs[0].axes[0]
    (image,), (box,), (label,) = ax.get_images(), ax.patches, ax.texts
    assert image.get_array().shape == (320, 480, 3)  # half as large, in the image's coordinates
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 960), (640, 0))
    assert box.get_bbox().bounds == (400, 200, 300, 350)
    assert label.get_position() == (400, 200)
    picture = render(figure)
    assert "".join(label.get_text().split("\\$")) == "US or \\oops"  # no formula
    color = (255 * np.array(box.get_edgecolor()[:3])).round()
    assert (np.abs(picture[..., :3] - color).max(axis=2) < 2).any()


def test_an_image_is_turned_as_its_exif_data_say(draw, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 60), "white").save(tmp_path / "white.png", exif=exif)
    (image,) = draw(num_images=1).subfigs[0].axes[0].get_images()
    assert image.get_array().shape == (40, 60, 3)


def test_images_without_boxes_are_drawn(draw):
    figure = draw([], num_images=1)
    render(figure)
    _, axes = parts(figure)
    assert not bars(axes[0]) and not bars(axes[1]) and bars(axes[2]) == {0: 5}


def test_a_broken_image_is_named(draw, tmp_path):
    (tmp_path / "white.png").write_text("no image")
    with pytest.raises(ValueError, match="white.png cannot be read"):
        draw()
