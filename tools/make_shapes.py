#!/usr/bin/env python
"""Makes a small detection data set of coloured shapes, by dev/make_shapes.py."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).parents[1] / "dev" / "make_shapes.py"), run_name="__main__")
