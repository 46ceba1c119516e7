import re
from pathlib import Path

import pytest
from draw_architecture import BOXES, OUTPUT, TEXTS, draw

PACKAGE = Path(__file__).resolve().parents[2] / "tood_d2"
FILES = re.findall(r"[\w/]+(?:\.py|/)", " ".join(str(x) for x in (*BOXES, *TEXTS)))


def test_figure_of_the_document_is_what_the_script_draws():
    assert OUTPUT.read_text(encoding="utf-8") == draw()


@pytest.mark.parametrize("name", FILES)
def test_files_that_the_figure_names_exist(name):
    assert (PACKAGE / name).exists() or (PACKAGE / "modeling" / name).exists()
