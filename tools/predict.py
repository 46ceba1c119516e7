#!/usr/bin/env python
"""Detects in any number of images, and keeps the results in Parquet files."""

import sys

from tood_d2.programs.predict_collection import main

if __name__ == "__main__":
    sys.exit(main())
