"""Maps of a level and the location next to a point, on predictions made by hand."""

import numpy as np
import pytest
import torch

from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from tood_d2.inference import DensePredictions
from tood_d2.inspection.head_maps import (
    HeadInternals,
    draw_location,
    draw_map,
    level_maps,
    picture_scale,
)

STRIDES = (8, 16)
LEVEL_SIZES = [(2, 3, 1), (1, 2, 1)]
IMAGE_SIZE = (16, 24)
IMAGE = np.full((*IMAGE_SIZE, 3), 128, np.uint8)
# Boxes of 8 x 8 pixels: the first level's (0, 0, 8, 8), (1, 0, 9, 8) and so on.
BOXES = torch.tensor([[float(i), 0, i + 8, 8] for i in range(8)])
# Of two classes, the second one's falling from 0.8.
SCORES = torch.stack((torch.full((8,), 0.55), torch.arange(8, 0, -1) / 10), dim=1)
PREDICTIONS = DensePredictions(SCORES, BOXES, IMAGE_SIZE, LEVEL_SIZES)


@pytest.fixture
def internals():
    """At each location of a level: sides read 1 cell to the left, above, to the right, below."""
    offsets = torch.tensor([[0.0, -1], [-1, 0], [0, 1], [1, 0]])  # (dy, dx)
    sizes = [size[:2] for size in LEVEL_SIZES]
    return HeadInternals(
        torch.ones(2, 1),
        torch.ones(2, 1),
        [offsets.expand(*size, 4, 2) for size in sizes],
        [torch.full(size, 0.25 * (i + 1)) for i, size in enumerate(sizes)],
    )


@pytest.fixture
def maps(anchor_generator, internals):
    def _maps(level, classes=None, internals=internals):
        return level_maps(PREDICTIONS, internals, anchor_generator(STRIDES), level, classes)

    return _maps


class TestLevelMaps:
    def test_first_level(self, maps):
        result = maps(0)
        assert result.stride == 8
        assert result.centers[1, 2].tolist() == [16, 8]
        torch.testing.assert_close(
            result.scores, torch.tensor([[0.8, 0.7, 0.6], [0.55, 0.55, 0.55]])
        )
        assert result.classes.tolist() == [[1, 1, 1], [0, 0, 0]]
        assert result.boxes[0, 1].tolist() == [1, 0, 9, 8]
        assert result.boxes[1, 2].tolist() == [5, 0, 13, 8]
        assert (result.alignment == 0.25).all() and result.alignment.shape == (2, 3)

    def test_last_level(self, maps):
        result = maps(1)
        assert result.stride == 16
        assert result.centers.tolist() == [[[0, 0], [16, 0]]]
        assert result.boxes[0, 1].tolist() == [7, 0, 15, 8]
        assert (result.alignment == 0.5).all()

    def test_some_classes(self, maps):
        torch.testing.assert_close(
            maps(0, [1]).scores, torch.tensor([[0.8, 0.7, 0.6], [0.5, 0.4, 0.3]])
        )
        assert (maps(0, [1]).classes == 1).all()
        torch.testing.assert_close(maps(0, []).scores, maps(0, [0, 1]).scores)

    def test_without_internals_there_is_no_alignment(self, maps):
        assert maps(0, internals=None).alignment is maps(0, internals=None).offsets is None

    def test_several_anchors_per_location(self):
        generator = DefaultAnchorGenerator(
            sizes=[[16]], aspect_ratios=[0.5, 2.0], strides=[8], offset=0.0
        )
        scores = torch.tensor([[0.1], [0.2], [0.4], [0.3]])
        predictions = DensePredictions(scores, BOXES[:4], (8, 16), [(1, 2, 2)])
        result = level_maps(predictions, None, generator, 0)
        torch.testing.assert_close(result.scores, torch.tensor([[0.2, 0.4]]))
        torch.testing.assert_close(result.boxes, BOXES[[1, 2]][None])
        torch.testing.assert_close(result.centers, torch.tensor([[[0.0, 0], [8, 0]]]))


class TestLocation:
    @pytest.mark.parametrize(
        ("point", "cell"),
        [((0, 0), (0, 0)), ((11.9, 4.1), (1, 1)), ((12.1, 3.9), (0, 2)), ((99, 99), (1, 2))],
    )
    def test_nearest_location_is_found(self, maps, point, cell):
        assert maps(0).cell_at(*point) == cell

    def test_sides_are_read_a_cell_to_the_left_above_to_the_right_and_below(self, maps):
        # Around (8, 0), with cells of 8 pixels.
        assert maps(0).sampled((0, 1)).tolist() == [[0, 0], [8, -8], [16, 0], [8, 8]]

    def test_without_internals_nothing_is_known_of_the_sides(self, maps):
        assert maps(1, internals=None).sampled((0, 0)) is None


class TestDrawing:
    def test_pictures_are_640_pixels_wide(self, maps):
        # 24 pixels become 640, 16 become 426.
        assert picture_scale(IMAGE_SIZE) == pytest.approx(26.67, abs=0.01)
        for picture in (
            draw_map(IMAGE, maps(0).scores, maps(0), (0, 1)),
            draw_location(IMAGE, maps(0), (0, 1)),
        ):
            assert picture.shape == (426, 640, 3) and picture.dtype == np.uint8

    def test_map_is_brightest_where_it_is_highest(self, maps):
        picture = draw_map(IMAGE, torch.tensor([[0.0, 1, 0], [0, 0, 0]]), maps(0), None).astype(int)
        # The cell around (8, 0) in the input, 8 pixels wide and half outside.
        bright, dark = picture[50, 213], picture[50, 30]
        assert bright.sum() > dark.sum() + 200
        assert (picture[50, 113] == bright).all() and (picture[50, 100] == dark).all()
        assert (picture[350] == 128).all()  # below y = 12, there is no location

    def test_box_is_red_and_where_its_right_side_is_read_orange(self, maps):
        plain = draw_location(IMAGE, maps(0), None)
        assert (plain == 128).all()
        marked = draw_location(IMAGE, maps(0), (1, 1))
        # The box (4, 0, 12, 8) is red: its left side is at 4 * 26.67.
        red, green, blue = marked[150, 107].tolist()
        assert red > 200 and green < 60 and blue < 60
        # The point right of the centre, at (16, 8), is orange.
        assert marked[213, 427].tolist() == [255, 165, 0]
