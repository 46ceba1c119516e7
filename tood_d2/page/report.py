"""A file of HTML that shows detections on its own: nothing is loaded from elsewhere."""

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from .results import COLUMNS, ClassColors, Result, count_classes

JPEG_QUALITY = 90
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60em; margin: auto; padding: 1em; }}
h1, h2 {{ overflow-wrap: anywhere; line-height: 1.2; }}
img {{ max-width: 100%; height: auto; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: .2em .8em; text-align: right; border-bottom: 1px solid #8886; }}
th:first-child, td:first-child {{ text-align: left; overflow-wrap: anywhere; }}
i {{ display: inline-block; width: .8em; height: .8em; margin-right: .5em; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{settings}</p>
{sections}
</body>
</html>
"""


def write_report(
    path: str, title: str, settings: str, results: Sequence[Result], colors: ClassColors
) -> None:
    """Writes the pictures, numbers and detections of one or more models.

    Args:
        path: of the file.
        title, settings: texts.
        results: of the models.
        colors: of the classes.

    Raises:
        OSError: if the file cannot be written.
    """
    sections = "\n".join(_section(x, colors) for x in results)
    page = PAGE.format(title=escape(title), settings=escape(settings), sections=sections)
    with open(path, "w", encoding="utf-8") as file:
        file.write(page)


def _section(result: Result, colors: ClassColors) -> str:
    number = len(result.instances)
    return "\n".join(
        [
            f"<h2>{escape(result.model)}</h2>",
            f"<p>{number} detections; {escape(result.speed())}.</p>",
            f'<p><img alt="{number} detections" src="{_data_uri(result.picture)}"></p>',
            _table(["class", "number"], count_classes([result]), colors),
            "<h3>Detections: score in %, box as x1 y1 x2 y2 in pixels</h3>",
            _table(COLUMNS, result.rows(), colors),
        ]
    )


def _table(headers: Sequence[str], rows: Sequence[Sequence], colors: ClassColors) -> str:
    """Rows begin with the name of a class."""
    if not rows:
        return "<p>None.</p>"
    head = "".join(f"<th>{escape(x)}</th>" for x in headers)
    body = "".join(
        f'<tr><td><i style="background: {colors.css(name)}"></i>{escape(name)}</td>'
        + "".join(f"<td>{x}</td>" for x in numbers)
        + "</tr>\n"
        for name, *numbers in rows
    )
    return f'<div class="wide"><table>\n<tr>{head}</tr>\n{body}</table></div>'


def _data_uri(picture: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
