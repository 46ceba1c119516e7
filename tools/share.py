#!/usr/bin/env python
"""Shares a trained model by the Hugging Face Hub, or as a folder."""

import sys

from tood_d2.programs.share import main

if __name__ == "__main__":
    sys.exit(main())
