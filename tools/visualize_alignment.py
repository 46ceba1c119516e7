#!/usr/bin/env python
"""Draws where a detector, or two, classifies and localises objects best (Figure 4 of the paper)."""

import sys

from tood_d2.programs.visualize_alignment import main

if __name__ == "__main__":
    sys.exit(main())
