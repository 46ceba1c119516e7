"""Names with odd characters, printed and drawn."""

import logging

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from tood_d2.evaluation.figures import draw_confusion_matrix, draw_pr_curves
from tood_d2.text import _find_labels, drawable, printable

DEFAULT, STIX = (
    get_font(findfont(FontProperties(family=[x]))) for x in ("sans-serif", "STIXGeneral")
)
SIGN = next(  # a sign that only some of matplotlib's fonts have
    chr(x)
    for x in range(0x2200, 0x2C00)
    if STIX.get_char_index(x) and not DEFAULT.get_char_index(x)
)


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
    assert labels[3:] == ["US\\$ or \\$\\oops\\$", "two lines", "x" * 39 + "…"]
    assert picture[:, :, :3].min() == 0


def test_names_without_a_font_become_numbers_with_one_warning(caplog):
    names = ["cup", "\U000100a3", "", "\U000100a4 b"]  # Linear B, which DejaVu and STIX lack
    with caplog.at_level(logging.WARNING):
        assert [draw(names)[0] for _ in range(2)] == [["cup", "1", "2", "3"]] * 2
    (message,) = caplog.messages
    assert "2 of the class names" in message and "1 for \U000100a3" in message


def test_another_font_of_the_system_helps(caplog):
    assert draw([f"a{SIGN}"])[0] == [f"a{SIGN}"] and not caplog.messages


def test_figures_of_an_evaluation_have_the_fonts():
    with drawable([SIGN]):
        family = rcParams["font.family"]
    assert len(family) > 1
    matrix = draw_confusion_matrix(np.eye(2, dtype=int), [SIGN], "")
    labels = [*matrix.axes[0].get_xticklabels(), *matrix.axes[0].get_yticklabels()]
    curves = draw_pr_curves(np.linspace(0, 1, 3), {0.5: np.ones((3, 1))}, [SIGN])
    labels += [x for x in curves.axes[0].get_legend().get_texts() if SIGN in x.get_text()]
    assert len(labels) == 5
    assert all(label.get_fontfamily() == family for label in labels)
