#!/usr/bin/env python
"""Counts parameters and floating-point operations of models, as Markdown table rows.

A multiplication with its addition counts once, as in the paper's tables and in fvcore.
"""

import argparse
import logging
import math
import os
from collections import Counter

import torch
from torch import nn

from detectron2.utils.analysis import FlopCountAnalysis
from tood_d2 import model_zoo
from tood_d2.cli.messages import short_errors
from tood_d2.config import load_run


def find_config(name: str) -> str:
    """Path of a config.

    Args:
        name: a file, or a name of ``tood_d2.model_zoo`` or ``detectron2.model_zoo``.

    Raises:
        ValueError: if there is no such config.
    """
    if os.path.isfile(name):
        return name
    if "/" not in name:
        return model_zoo.get_config_file(name)
    try:
        from detectron2.model_zoo import get_config_file  # needs a setuptools with pkg_resources

        return get_config_file(name)
    except (ImportError, RuntimeError) as error:
        raise ValueError(
            f"{name}: no such config file, nor one of detectron2.model_zoo ({error})"
        ) from error


def count_flops(model: nn.Module, height: int, width: int) -> Counter:
    """Operations for one image of the given size, by the module's name ("" for the model)."""
    flops = FlopCountAnalysis(model, [{"image": torch.zeros(3, height, width)}])
    flops.set_op_handle("torchvision::deform_conv2d", _deform_conv_flops)
    flops.set_op_handle("aten::batch_norm", None)  # goes into the kernel before it
    flops.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    prefix = "model."  # the adapter for tracing has the model inside
    return Counter({name.removeprefix(prefix): x for name, x in flops.by_module().items()})


def _deform_conv_flops(inputs, outputs) -> int:
    """Like fvcore's count for convolutions: output size times kernel size."""
    weight = inputs[1].type().sizes()
    return math.prod(outputs[0].type().sizes()) * math.prod(weight[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        help="config files, or names like COCO-Detection/retinanet_R_50_FPN_1x.py of Detectron2's "
        "zoo; by default all models of this project",
    )
    parser.add_argument("--size", nargs=2, type=int, default=(800, 1280), metavar=("H", "W"))
    args = parser.parse_args()
    # The device does not matter.
    logging.getLogger("tood_d2.config.loading").setLevel(logging.ERROR)
    print("| model | parameters | GFLOPs | of these, head |\n|---|---|---|---|")
    with short_errors(parser.prog):
        for name in args.names or model_zoo.list_names():
            model = load_run(find_config(name)).build_model().cpu().eval()
            flops = count_flops(model, *args.size)
            parameters = sum(p.numel() for p in model.parameters())
            print(f"| {name} | {parameters:,} | {flops[''] / 1e9:.2f} |", end="")
            print(f" {flops['head'] / 1e9:.2f} |", flush=True)


if __name__ == "__main__":
    main()
