#!/usr/bin/env python
"""Brings data into COCO's form, splits, slices, checks and repairs it, and shows it."""

import sys

from tood_d2.programs.data import main

if __name__ == "__main__":
    sys.exit(main())
