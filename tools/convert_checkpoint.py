#!/usr/bin/env python
"""Converts weights between tood_d2, the authors' code, MMDetection and torchvision.

    convert_checkpoint.py official.pth tood.pth            official code or MMDetection
    convert_checkpoint.py resnet101.pth backbone.pth       torchvision ResNet or ResNeXt
    convert_checkpoint.py torchvision://resnet101 backbone.pth
    convert_checkpoint.py model_final.pth official.pth --to official

Files are torch.save's or, by the ending .safetensors, safetensors.
"""

import argparse
import os
import sys

import torch
from torch import Tensor

from detectron2.utils.file_io import PathManager
from tood_d2.checkpoint import (
    convert_official_state_dict,
    convert_to_official_state_dict,
    convert_torchvision_state_dict,
    find_class_names,
    find_state_dict,
    read_checkpoint,
    save_weights,
)
from tood_d2.cli.messages import short_errors
from tood_d2.config import build_model, load_config


def convert_to_tood(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Recognises where weights come from by their names."""
    if any(name.startswith("head.") or ".bottom_up." in name for name in state_dict):
        return state_dict
    if "layer1.0.conv1.weight" in state_dict:
        return convert_torchvision_state_dict(state_dict)
    return convert_official_state_dict(state_dict)


def save(state_dict: dict[str, Tensor], path: str, target: str, class_names: list[str]) -> None:
    if path.endswith(".safetensors"):
        from safetensors.torch import save_file

        save_file({name: tensor.contiguous() for name, tensor in state_dict.items()}, path)
    elif target == "tood_d2":
        save_weights(state_dict, path, class_names)
    else:
        torch.save({"meta": {"CLASSES": class_names}, "state_dict": state_dict}, path)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", help="file, or name of weights such as torchvision://resnet101")
    parser.add_argument("output", help="file to write")
    parser.add_argument("--to", choices=("tood_d2", "official", "mmdet"), default="tood_d2")
    parser.add_argument(
        "--config-file", help="check that the weights fit this config's model, to the last one"
    )
    args = parser.parse_args()
    with short_errors(f"{parser.prog}: {args.input}"):
        checkpoint = read_checkpoint(PathManager.get_local_path(args.input))
        state_dict = convert_to_tood(find_state_dict(checkpoint))
        class_names = find_class_names(checkpoint)
        if args.config_file:
            model = build_model(load_config(args.config_file))
            model.load_state_dict(state_dict, strict=True)  # its error names the parameters
        if args.to != "tood_d2":
            state_dict = convert_to_official_state_dict(state_dict, args.to)
        os.makedirs(os.path.dirname(os.path.abspath(args.output)), exist_ok=True)
        save(state_dict, args.output, args.to, class_names)
    print(f"wrote {args.output}: {len(state_dict)} tensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
