"""Exports a trained detector for other runtimes, and checks the result.

%(prog)s --config-file output/demo/config.yaml --output model.onnx \\
    --opts train.init_checkpoint=output/demo/model_final.pth

An .onnx file takes images of any number and size (with --square, of one size), has NMS inside
unless told otherwise, and knows its class names and how images are to be prepared:
demo/onnx_demo.py needs nothing else. A .pt2 file is a program of torch.export that ends with the
candidates of NMS.
"""

import argparse
from pathlib import Path

from tood_d2.cli.arguments import add_config_arguments
from tood_d2.cli.messages import run_program


def run(args: argparse.Namespace) -> int:
    import torch
    from tabulate import tabulate

    from tood_d2.cli.outputs import check_outputs
    from tood_d2.config import load_run, register_datasets
    from tood_d2.engine import Trainer
    from tood_d2.export.exporting import export_onnx, read_metadata
    from tood_d2.export.onnx_detector import ONNXDetector
    from tood_d2.export.onnx_export import export_program
    from tood_d2.export.quantization import quantize
    from tood_d2.inference import load_detector

    run, output = load_run(args.config_file, args.opts, args.trust), Path(args.output)
    small = str(output.with_suffix(".int8.onnx"))
    check_outputs([str(output), small], [args.config_file, run.options.init_checkpoint])
    if args.int8 or args.evaluate:
        run = register_datasets(run, needed=("test",))
    model = (run.build_model().eval() if args.untrained else load_detector(run)).cpu()
    output.parent.mkdir(parents=True, exist_ok=True)
    print(f"Exporting to {output}; a large model takes minutes ...", flush=True)
    metadata = read_metadata(run, model, not args.without_nms, args.square)
    if output.suffix == ".pt2":
        torch.export.save(export_program(model, metadata.square), output)
        print(f"{output}: written")
        return 0
    agrees = export_onnx(model, metadata, str(output))
    detectors = {"PyTorch": model, str(output): ONNXDetector(str(output))}
    if args.int8:
        samples = map(run.annotated_test_mapper(), run.training_dicts()[: args.int8])
        quantize(str(output), small, samples, metadata.size_divisibility)
        print(f"{small}: written")
        detectors[small] = ONNXDetector(small)
    if args.evaluate:
        ap = {name: Trainer.test(run.cfg, x)["bbox"]["AP"] for name, x in detectors.items()}
        print(tabulate(ap.items(), ["", "AP"], floatfmt=".3f"))
    return 0 if agrees else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--output", required=True, help="file to write, .onnx or .pt2")
    add("--without-nms", action="store_true", help="let it end with candidates")
    add(
        "--square",
        type=int,
        default=0,
        metavar="SIDE",
        help="take inputs of this size alone, to which images are padded; some backbones need it",
    )
    add("--evaluate", action="store_true", help="on the config's test data, beside PyTorch")
    add(
        "--int8",
        type=int,
        metavar="N",
        help="also write FILE.int8.onnx, whose convolutions compute with 8 bits, from the range of "
        "values on N training images",
    )
    add("--untrained", action="store_true", help="with random weights")
    add_config_arguments(parser, required=True)
    args = parser.parse_args()
    if Path(args.output).suffix not in (".onnx", ".pt2"):
        parser.error(f"--output {args.output}: should end in .onnx or .pt2")
    return run_program(run, args)
