#!/usr/bin/env python
"""Trains and evaluates TOOD from a LazyConfig (.py) or a YAML config."""

from tood_d2.cli.processes import launch
from tood_d2.programs.train import parse_args
from tood_d2.programs.train import train as main

if __name__ == "__main__":
    launch(main, parse_args())
