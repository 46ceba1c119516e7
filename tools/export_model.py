#!/usr/bin/env python
"""Exports a trained detector for other runtimes, and checks the result.

export_model.py --config-file output/demo/config.yaml --output model.onnx \\
    --opts train.init_checkpoint=output/demo/model_final.pth

An .onnx file takes images of any number and size, has NMS inside unless told otherwise, and knows
its class names and how images are to be prepared: demo/onnx_demo.py needs nothing else. A .pt2 file
is a program of torch.export that ends with the candidates of NMS.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import torch
from omegaconf import DictConfig
from tabulate import tabulate
from torch import nn

from detectron2.config import CfgNode
from tood_d2.checkpoint import load_weights, weights_of
from tood_d2.cli.arguments import add_overrides
from tood_d2.cli.messages import short_errors
from tood_d2.config import (
    annotated_test_data,
    build_model,
    category_ids,
    class_names,
    load_config,
    register_datasets,
    training_data,
)
from tood_d2.engine import Trainer
from tood_d2.evaluation import evaluate
from tood_d2.export.agreement import compare_candidates, compare_nms
from tood_d2.export.metadata import Metadata
from tood_d2.export.onnx_detector import ONNXDetector
from tood_d2.export.onnx_export import export_candidates, export_program, finish_onnx
from tood_d2.export.quantization import quantize

TOLERANCE = 1e-4
SIZES, BATCHES = ((96, 160), (256, 192), (320, 416)), (1, 3)


def read_metadata(cfg: CfgNode | DictConfig, model: nn.Module, has_nms: bool) -> Metadata:
    """What a config and its model say of an exported model.

    Raises:
        ValueError: if images for testing are not resized by their shorter side alone.
    """
    if isinstance(cfg, CfgNode):
        input_format, short, longest = (
            cfg.INPUT.FORMAT,
            cfg.INPUT.MIN_SIZE_TEST,
            cfg.INPUT.MAX_SIZE_TEST,
        )
    else:
        mapper = cfg.dataloader.test.mapper
        input_format = mapper.image_format
        resize, *others = mapper.augmentations
        if others or "short_edge_length" not in resize:
            raise ValueError(
                "dataloader.test.mapper.augmentations should be one ResizeShortestEdge: those who "
                "run the exported model are told no other"
            )
        short, longest = resize.short_edge_length, resize.max_size
    return Metadata(
        class_names=class_names(cfg),
        category_ids=category_ids(cfg),
        input_format=input_format,
        size_divisibility=max(model.backbone.size_divisibility, 1),
        short_edge_length=int(short),
        max_size=int(longest),
        score_thresh=model.test_score_thresh,
        nms_thresh=model.test_nms_thresh,
        max_detections=model.max_detections_per_image,
        has_nms=has_nms,
    )


def export_onnx(model: nn.Module, metadata: Metadata, path: str) -> bool:
    """Writes an ONNX file, compares it with the model and prints the differences.

    Returns:
        Whether they are small enough.
    """
    candidates = export_candidates(model)
    onnx.save(finish_onnx(candidates, metadata), path)
    without = ONNXDetector(
        finish_onnx(candidates, replace(metadata, has_nms=False)).SerializeToString()
    )
    rows = list(compare_candidates(without, model, SIZES, BATCHES))
    print(
        tabulate(
            [(f"{h}x{w}", *rest) for (h, w), *rest in rows], ["size", "images", "scores", "boxes"]
        )
    )
    agrees = all(max(row.scores, row.boxes) <= TOLERANCE for row in rows)
    if metadata.has_nms:
        same = compare_nms(ONNXDetector(path), without, SIZES[0], BATCHES[-1])
        print(f"NMS: {'as PyTorch does it' if same else 'NOT as PyTorch does it'}")
        agrees &= same
    print(
        f"{path}: {'agrees' if agrees else 'DOES NOT AGREE'} with PyTorch (relative, {TOLERANCE})"
    )
    return agrees


def measure_ap(cfg: CfgNode | DictConfig, detectors: dict) -> dict[str, float]:
    """AP of each detector on the test data of a config."""
    results = {}
    for name, detector in detectors.items():
        is_yaml = isinstance(cfg, CfgNode)
        result = Trainer.test(cfg, detector) if is_yaml else evaluate(cfg, detector)
        results[name] = result["bbox"]["AP"]
    return results


def build(cfg: CfgNode | DictConfig, untrained: bool) -> nn.Module:
    """The model of a config in evaluation mode, with its trained weights unless told otherwise."""
    model = build_model(cfg).eval()
    return model if untrained else load_weights(model, *weights_of(cfg))


def run(args: argparse.Namespace) -> int:
    cfg = load_config(args.config_file, args.opts)
    output = Path(args.output)
    if output.suffix not in (".onnx", ".pt2"):
        raise ValueError(f"--output {output}: should end in .onnx or .pt2")
    model = build(cfg, args.untrained).cpu()
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == ".pt2":
        torch.export.save(export_program(model), output)
        return 0
    metadata = read_metadata(cfg, model, has_nms=not args.without_nms)
    agrees = export_onnx(model, metadata, str(output))
    detectors = {"PyTorch": model, str(output): ONNXDetector(str(output))}
    if args.int8:
        register_datasets(cfg)
        _, mapper = annotated_test_data(cfg)
        small = str(output.with_suffix(".int8.onnx"))
        samples = map(mapper, training_data(cfg)[: args.int8])
        quantize(str(output), small, samples, metadata.size_divisibility)
        detectors[small] = ONNXDetector(small)
    if args.evaluate:
        register_datasets(cfg)
        print(tabulate(measure_ap(cfg, detectors).items(), ["", "AP"], floatfmt=".3f"))
    return 0 if agrees else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="config, .py or .yaml")
    parser.add_argument("--output", required=True, help="file to write, .onnx or .pt2")
    parser.add_argument("--without-nms", action="store_true", help="let it end with candidates")
    parser.add_argument(
        "--evaluate", action="store_true", help="on the config's test data, beside PyTorch"
    )
    parser.add_argument(
        "--int8",
        type=int,
        metavar="N",
        help="also write FILE.int8.onnx, whose convolutions compute with 8 bits, from the range of "
        "values on N training images",
    )
    parser.add_argument("--untrained", action="store_true", help="with random weights")
    add_overrides(parser)
    args = parser.parse_args()
    with short_errors(parser.prog):
        return run(args)


if __name__ == "__main__":
    sys.exit(main())
