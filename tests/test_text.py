"""Names with odd characters, printed and drawn."""

import logging

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from tood_d2.text import _find_labels, drawable, printable


@pytest.fixture(autouse=True)
def no_cache():
    _find_labels.cache_clear()


def draw(names):
    """Labels and pixels of names, drawn below each other."""
    figure = Figure(figsize=(3, 3))
    with drawable(names) as labels:
        for i, label in enumerate(labels):
            figure.text(0, i / len(labels), label)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return labels, np.asarray(canvas.buffer_rgba())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cup of tea", "cup of tea"),
        ("干净 カップ", "干净 カップ"),
        ("two\nlines\tand \r\n more", "two lines and more"),
        ("\x1b[31mred\x07\x9b", "\ufffd[31mred\ufffd\ufffd"),
        ("left\u202eright", "leftright"),
        (b"caf\xe9.png".decode(errors="surrogateescape"), "caf\ufffd.png"),
        ("", ""),
    ],
)
def test_printable(text, expected):
    assert printable(text) == expected


def test_names_that_can_be_drawn_are_their_labels():
    names = ["cup", "чашка", "a\\b 100%", "US$ or $\\oops$", "two\nlines", "x" * 100]
    labels, picture = draw(names)
    assert labels[:3] == names[:3]
    assert labels[3:] == ["US\\$ or \\$\\oops\\$", "two lines", "x" * 59 + "…"]
    assert picture[:, :, :3].min() == 0


def test_names_without_a_font_become_numbers_with_one_warning(caplog):
    names = ["cup", "\U000100a3", "", "\U000100a4 b"]  # Linear B, which DejaVu and STIX lack
    with caplog.at_level(logging.WARNING):
        assert [draw(names)[0] for _ in range(2)] == [["cup", "1", "2", "3"]] * 2
    (message,) = caplog.messages
    assert "2 of the class names" in message and "1 for \U000100a3" in message


def test_another_font_of_the_system_helps(caplog):
    default, stix = (
        get_font(findfont(FontProperties(family=[x]))) for x in ("sans-serif", "STIXGeneral")
    )
    character = next(
        chr(x)
        for x in range(0x2200, 0x2C00)
        if stix.get_char_index(x) and not default.get_char_index(x)
    )
    labels, _ = draw([f"a{character}"])
    assert labels == [f"a{character}"] and not caplog.messages
