#!/usr/bin/env python
"""Writes docs/options.md, the table of all options, from tood_d2/config/options.py."""

import ast
import inspect
from itertools import pairwise
from pathlib import Path

from tood_d2.config import options

HEADER = """# Options

LazyConfig (`.py`) takes `key=value` at the end of the command line, YAML `KEY value` or
`KEY=value`. This table is written by `python dev/document_options.py` from
`tood_d2/config/options.py`, which also says which values are allowed.

| LazyConfig | YAML | default | |
|---|---|---|---|
"""


def describe_options() -> str:
    """The content of the document."""
    (source,) = (
        x
        for x in ast.parse(inspect.getsource(options)).body
        if isinstance(x, ast.ClassDef) and x.name == "Options"
    )
    purposes = {
        item.target.id: text.value.value
        for item, text in pairwise(source.body)
        if isinstance(item, ast.AnnAssign)
    }
    rows = []
    for name, keys, default in options.all_options():
        names = (f"`{key}`" if key else "–" for key in keys)
        value = f"`{default!r}`" if default not in ("", (), []) else "–"
        rows.append(f"| {' | '.join(names)} | {value} | {purposes[name]} |")
    return HEADER + "\n".join(rows) + "\n"


if __name__ == "__main__":
    Path(__file__).parents[1].joinpath("docs", "options.md").write_text(describe_options())
