#!/usr/bin/env python
"""Exports a trained detector for other runtimes, and checks the result."""

import sys

from tood_d2.programs.export import main

if __name__ == "__main__":
    sys.exit(main())
