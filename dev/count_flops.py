#!/usr/bin/env python
"""Counts parameters and floating-point operations of the models, as Markdown table rows.

A multiplication with its addition counts once, as in the paper's tables and in fvcore.
"""

import argparse
import math
import os

import torch

from detectron2.utils.analysis import FlopCountAnalysis
from tood_d2 import model_zoo
from tood_d2.cli.messages import short_errors
from tood_d2.config import build_model, load_config


def deform_conv_flops(inputs, outputs) -> int:
    """Like fvcore's count for convolutions: output size times kernel size."""
    weight = inputs[1].type().sizes()
    return math.prod(outputs[0].type().sizes()) * math.prod(weight[1:])


def count(name: str, height: int, width: int) -> tuple[int, float, float]:
    """Parameters, GFLOPs in all and in the head, for one image of the given size."""
    if os.path.isfile(name):
        model = build_model(load_config(name)).cpu().eval()
    else:
        model = model_zoo.get(name, device="cpu").eval()
    flops = FlopCountAnalysis(model, [{"image": torch.zeros(3, height, width)}])
    flops.set_op_handle("torchvision::deform_conv2d", deform_conv_flops)
    flops.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    by_module = flops.by_module()
    parameters = sum(p.numel() for p in model.parameters())
    return parameters, by_module[""] / 1e9, by_module["model.head"] / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="models or config files, by default the zoo")
    parser.add_argument("--size", nargs=2, type=int, default=(800, 1280), metavar=("H", "W"))
    args = parser.parse_args()
    print("| model | parameters | GFLOPs | of these, head |\n|---|---|---|---|")
    with short_errors(parser.prog):
        for name in args.names or model_zoo.list_names():
            parameters, total, head = count(name, *args.size)
            print(f"| {name} | {parameters:,} | {total:.2f} | {head:.2f} |", flush=True)


if __name__ == "__main__":
    main()
