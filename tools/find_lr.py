#!/usr/bin/env python
"""Suggests a learning rate for a config and its data."""

import sys

from tood_d2.programs.find_lr import main

if __name__ == "__main__":
    sys.exit(main())
