"""Exports a trained detector for other runtimes, and checks the result.

%(prog)s --config-file output/demo/config.yaml --output model.onnx \\
    --opts train.init_checkpoint=output/demo/model_final.pth

An .onnx file takes images of any number and size (with --square, of one size), has NMS inside
unless told otherwise, and knows its class names and how images are to be prepared:
demo/onnx_demo.py needs nothing else. An .xml file, with its .bin file beside it, is the same for
OpenVINO. A .pt2 file is a program of torch.export that ends with the candidates of NMS.
"""

import argparse
from pathlib import Path

from tood_d2.cli.arguments import add_config_arguments
from tood_d2.cli.messages import run_program


def run(args: argparse.Namespace) -> int:
    import torch
    from tabulate import tabulate

    from tood_d2.cli.outputs import check_outputs
    from tood_d2.cli.requirements import check_nncf, check_runtime
    from tood_d2.config import load_run, register_datasets
    from tood_d2.engine import Trainer
    from tood_d2.export.exporting import export_model, read_metadata
    from tood_d2.export.onnx_export import export_program
    from tood_d2.inference import load_detector
    from tood_d2.inference.runtimes import load_exported

    check_runtime(args.output)
    if args.int8 and args.output.endswith(".xml"):
        check_nncf()
    run, output = load_run(args.config_file, args.opts, args.trust), Path(args.output)
    small = str(output.with_suffix(f".int8{output.suffix}"))
    written = [str(output), small]
    if output.suffix == ".xml":
        written += [str(Path(x).with_suffix(".bin")) for x in written]
    check_outputs(written, [args.config_file, run.options.init_checkpoint])
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
    agrees = export_model(model, metadata, str(output), args.half)
    detectors = {"PyTorch": model, str(output): load_exported(str(output))}
    if args.int8:
        write_int8(run, str(output), small, args)
        print(f"{small}: written")
        detectors[small] = load_exported(small)
    if args.evaluate:
        ap = {name: Trainer.test(run.cfg, x)["bbox"]["AP"] for name, x in detectors.items()}
        print(tabulate(ap.items(), ["", "AP"], floatfmt=".3f"))
    return 0 if agrees else 1


def write_int8(run, path: str, output: str, args: argparse.Namespace) -> None:
    """Writes the int8 version of an exported model."""
    from detectron2.data import DatasetFromList, MapDataset

    def samples(dicts: list[dict]) -> MapDataset:
        return MapDataset(DatasetFromList(dicts), run.annotated_test_mapper())

    training = samples(run.training_dicts()[: args.int8])
    if path.endswith(".onnx"):
        from tood_d2.export.quantization import quantize
        from tood_d2.inference.runtimes import load_exported

        quantize(path, output, training, load_exported(path).metadata.size_divisibility)
    else:
        from tood_d2.export.openvino_quantization import quantize_openvino

        test = samples(run.test_dicts()) if args.max_drop < 100 else ()
        quantize_openvino(path, output, training, test, run.test_names[0], args.max_drop)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--output", required=True, help="file to write, .onnx, .xml or .pt2")
    add("--without-nms", action="store_true", help="let it end with candidates")
    add(
        "--square",
        type=int,
        default=0,
        metavar="SIDE",
        help="take inputs of this size alone, to which images are padded; some backbones need it",
    )
    add("--evaluate", action="store_true", help="on the config's test data, beside PyTorch")
    add("--half", action="store_true", help="keep the weights of an .xml file in 16 bits")
    add(
        "--int8",
        type=int,
        metavar="N",
        help="also write FILE.int8.onnx or FILE.int8.xml, whose layers compute with 8 bits, from "
        "the range of values on N training images",
    )
    add(
        "--max-drop",
        type=float,
        default=0.3,
        metavar="AP",
        help="points of AP on the test data that FILE.int8.xml may lose, else some of its layers "
        "stay in floating point; 100 does not look (0.3)",
    )
    add("--untrained", action="store_true", help="with random weights")
    add_config_arguments(parser, required=True)
    args = parser.parse_args()
    suffix = Path(args.output).suffix
    if suffix not in (".onnx", ".pt2", ".xml"):
        parser.error(f"--output {args.output}: should end in .onnx, .xml or .pt2")
    if args.half and (suffix != ".xml" or args.int8):
        parser.error("--half goes with --output FILE.xml, and without --int8")
    if args.int8 is not None and args.int8 < 1:
        parser.error(f"--int8 {args.int8}: at least 1 image is needed")
    return run_program(run, args)
