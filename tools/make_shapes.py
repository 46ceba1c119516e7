#!/usr/bin/env python
"""Makes a small detection data set of coloured shapes."""

import sys

from tood_d2.programs.make_shapes import main

if __name__ == "__main__":
    sys.exit(main())
