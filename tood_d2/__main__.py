"""The command ``tood``, which calls the programs of ``tood_d2.programs`` by name."""

import argparse
import importlib
import sys

from . import __version__

PROGRAMS = {
    "train": "train and evaluate a model",
    "predict": "draw detections on images, videos or what a camera sees",
    "predict-collection": "detect in any number of images, here or on a cluster",
    "data": "convert, split, check, repair and show data",
    "view": "look at data and detections in FiftyOne",
    "app": "try models on images in a browser",
    "serve": "answer requests of other programs over HTTP",
    "label-studio": "pre-label images in Label Studio and learn from its annotations",
    "export": "write a model for ONNX Runtime or torch.export",
    "share": "share a trained model by the Hugging Face Hub, or as a folder",
    "convert-checkpoint": "convert weights from and to the authors' code and MMDetection",
    "analyze-alignment": "measure how classification and localisation agree",
    "visualize-alignment": "draw where objects are classified and localised best",
    "make-shapes": "make a small data set to try all this on",
    "install-detectron2": "install Detectron2 here, without a compiler",
}


def main() -> int | None:
    width = max(map(len, PROGRAMS))
    parser = argparse.ArgumentParser(
        prog="tood",
        description="TOOD, task-aligned one-stage object detection.",
        usage="tood [-h] [--version] PROGRAM ...",
        epilog="\n".join(
            ["programs:", *(f"  {name:{width}}  {text}" for name, text in PROGRAMS.items())]
            + ["", "'tood PROGRAM --help' tells more."]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tood_d2 {__version__}")
    parser.add_argument("program", choices=PROGRAMS, metavar="PROGRAM", help=argparse.SUPPRESS)
    name = parser.parse_args(sys.argv[1:2]).program
    sys.argv[:2] = [f"tood {name}"]  # what the program calls itself
    module = importlib.import_module(f"tood_d2.programs.{name.replace('-', '_')}")
    return module.main()


if __name__ == "__main__":
    sys.exit(main())
