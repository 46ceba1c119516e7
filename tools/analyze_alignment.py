#!/usr/bin/env python
"""Measures how well a detector's classification and localisation agree (Table 6 of the paper)."""

import sys

from tood_d2.programs.analyze_alignment import main

if __name__ == "__main__":
    sys.exit(main())
