#!/usr/bin/env python
"""Draws the detections of a trained model on images, videos or what a camera sees."""

import sys

from tood_d2.programs.predict import main

if __name__ == "__main__":
    sys.exit(main())
