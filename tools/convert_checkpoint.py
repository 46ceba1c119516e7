#!/usr/bin/env python
"""Converts weights between tood_d2, the authors' code, MMDetection and torchvision."""

import sys

from tood_d2.programs.convert_checkpoint import main

if __name__ == "__main__":
    sys.exit(main())
