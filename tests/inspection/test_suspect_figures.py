"""Crops around suspects: what is drawn where."""

import io

import pytest
from PIL import Image

from tood_d2.inspection.suspect_figures import draw_suspects
from tood_d2.inspection.suspects import Suspect

BAD = Suspect(
    "badly placed", 0.6, "a.png", 5, 1, "cat", [100, 40, 20, 10], "cat", [110, 40, 20, 10], 0.9
)
OVERLOOKED = Suspect(
    "overlooked", 0.8, "a.png", 5, None, None, None, "$x_1$ dog", [0, 0, 8, 8], 0.8
)


@pytest.fixture
def draw(tmp_path):
    """Draws suspects of one image, 200 x 100, and gives the axes in use."""
    path = tmp_path / "a.png"
    Image.new("RGB", (200, 100), "white").save(path)

    def _draw(*suspects):
        figure = draw_suspects(suspects, {5: str(path)})
        figure.savefig(io.BytesIO())  # a formula would fail here
        return [ax for ax in figure.axes if ax.get_title()]

    return _draw


def test_the_annotation_is_dashed_and_the_detection_solid(draw):
    (ax,) = draw(BAD)
    assert [(x.get_bbox().bounds, x.get_linestyle()) for x in ax.patches] == [
        ((100, 40, 20, 10), "--"),
        ((110, 40, 20, 10), "-"),
    ]
    assert ax.get_title() == "1. badly placed\ncat: cat 0.90"


def test_the_crop_is_about_both_boxes_and_inside_the_image(draw):
    # Around (115, 45), half of 64 pixels on each side; around (4, 4), from the corner.
    first, second = draw(BAD, OVERLOOKED)
    assert (*first.get_xlim(), *first.get_ylim()) == (83, 147, 77, 13)
    assert (*second.get_xlim(), *second.get_ylim()) == (0, 36, 36, 0)


def test_an_overlooked_object_has_no_annotation_and_a_dollar_starts_no_formula(draw):
    (ax,) = draw(OVERLOOKED)
    assert len(ax.patches) == 1
    assert ax.get_title() == "1. overlooked\n" r"\$x_1\$ dog 0.80"


@pytest.mark.parametrize("number", [0, 1, 7])
def test_any_number_of_suspects(draw, number):
    assert [x.get_title().split(".")[0] for x in draw(*[BAD] * number)] == [
        str(i) for i in range(1, number + 1)
    ]
