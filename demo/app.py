#!/usr/bin/env python
"""Serves a page in the browser to try trained models on."""

import sys

from tood_d2.programs.app import main

if __name__ == "__main__":
    sys.exit(main())
