#!/usr/bin/env python
"""Converts a checkpoint of fcjian/TOOD or MMDetection's TOOD to tood_d2."""

import argparse
import sys

import torch

from tood_d2.checkpoint import load_official_checkpoint
from tood_d2.engine import build_model, load_config


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", help="checkpoint of the official code or MMDetection (.pth)")
    parser.add_argument("output", help="file to write (.pth), for train_net.py and demo.py")
    parser.add_argument(
        "--config-file", help="check that the weights fit this config's model, to the last one"
    )
    args = parser.parse_args()
    try:
        state_dict = load_official_checkpoint(args.input)
        if args.config_file:
            model = build_model(load_config(args.config_file))
            model.load_state_dict(state_dict, strict=True)  # its error names the parameters
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(f"{parser.prog}: {error}")
    torch.save({"model": state_dict, "__author__": "fcjian/TOOD"}, args.output)
    print(f"wrote {args.output}: {len(state_dict)} tensors")


if __name__ == "__main__":
    main()
