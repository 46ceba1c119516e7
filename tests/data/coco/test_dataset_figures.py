"""The contact sheet of a data set: which images, and the numbers of the histograms."""

import io

import numpy as np
import pytest
from PIL import Image

from detectron2.structures import BoxMode
from tood_d2.data.coco.figures import COLUMNS, MAX_CLASSES, draw_dataset


@pytest.fixture
def records(tmp_path):
    """Five white images, 60 x 40; the first has three boxes, the second one, the others none."""
    boxes = [
        [(0, (10, 10, 16, 4)), (1, (5, 20, 8, 8)), (1, (20, 20, 0, 9))],
        [(1, (0, 0, 32, 32))],
        *([] for _ in range(3)),
    ]
    path = tmp_path / "white.png"
    Image.new("RGB", (60, 40), "white").save(path)
    return [
        {
            "file_name": str(path),
            "image_id": i,
            "width": 60,
            "height": 40,
            "annotations": [
                {"bbox": box, "bbox_mode": BoxMode.XYWH_ABS, "category_id": c} for c, box in objects
            ],
        }
        for i, objects in enumerate(boxes)
    ]


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


def test_sizes_and_aspect_ratios(records):
    size, ratio, _, _ = parts(draw_dataset(records, ["cat", "dog"]))[1]
    # 16 x 4 and 8 x 8 have size 8, 32 x 32 has 32; the box without width is not counted.
    assert list(bars(size).values()) == [2, 1]
    assert list(bars(size)) == pytest.approx([8, 32], rel=0.1)
    assert list(bars(ratio).values()) == [2, 1]
    assert list(bars(ratio)) == pytest.approx([1, 4], rel=0.1)
    assert size.get_xscale() == ratio.get_xscale() == "log"


def test_boxes_per_image_and_class(records):
    _, _, numbers, classes = parts(draw_dataset(records, ["cat", "dog"]))[1]
    assert bars(numbers) == {0: 3, 1: 1, 3: 1}
    assert [x.get_text() for x in classes.get_yticklabels()] == ["dog", "cat"]
    assert [x.get_width() for x in classes.patches] == [3, 1]


def test_many_boxes_and_classes(records):
    records[0]["annotations"] *= 100
    names = [str(i) for i in range(30)]
    _, _, numbers, classes = parts(draw_dataset(records, names))[1]
    assert sum(bars(numbers).values()) == 5
    assert len(classes.patches) == MAX_CLASSES
    assert "10 rarer classes" in classes.get_xlabel()


@pytest.mark.parametrize("num_images", [1, 4, 5, 12])
def test_number_of_images(records, num_images):
    figure = draw_dataset(records, ["cat", "dog"], num_images)
    titles, _ = parts(figure)
    assert len(set(titles)) == min(num_images, 5)
    assert figure.get_figheight() == pytest.approx(3 * (-(-len(titles) // COLUMNS) + 1))


def test_seed_chooses_the_images(records):
    figures = [draw_dataset(records, ["cat", "dog"], 2, seed) for seed in (0, 0, 1, 2)]
    first, again, *others = (parts(figure)[0] for figure in figures)
    assert first == again and len({tuple(x) for x in (first, *others)}) > 1
    first, again = (
        [ax.get_images()[0].get_array() for ax in figure.subfigs[0].axes if ax.get_title()]
        for figure in figures[:2]
    )
    assert np.array_equal(first, again)


def test_boxes_are_drawn_at_their_place(records, tmp_path):
    Image.new("RGB", (960, 640), "white").save(tmp_path / "white.png")
    records[1]["annotations"] = [
        {"bbox": (400, 200, 800, 600), "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1}
    ]
    figure = draw_dataset(records[1:2], ["cat", "dog"])
    picture = figure.subfigs[0].axes[0].get_images()[0].get_array()
    assert picture.shape == (320, 480, 3)  # half as large
    ys, xs = np.nonzero((picture < 250).any(axis=2))
    sides = [xs.min(), ys.min(), xs.max(), ys.max()]
    assert sides == pytest.approx([200, 100, 400, 300], abs=3)


def test_no_boxes(records):
    figure = draw_dataset(records[2:], ["cat", "dog"])
    render(figure)
    _, axes = parts(figure)
    assert not bars(axes[0]) and not bars(axes[1]) and bars(axes[2]) == {0: 3}


def test_no_images():
    with pytest.raises(ValueError, match="no image"):
        draw_dataset([], ["cat"])


def test_broken_image(records, tmp_path):
    (tmp_path / "white.png").write_text("no image")
    with pytest.raises(OSError, match="white.png"):
        draw_dataset(records, ["cat", "dog"])
