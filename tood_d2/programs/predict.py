"""Draws the detections of a trained model on images, videos or what a camera sees.

%(prog)s --input images/
%(prog)s --config-file output/demo/config.yaml --input images/ --output pictures \
    --opts train.init_checkpoint=output/demo/model_final.pth
%(prog)s --exported model.onnx --video-input street.mp4
"""

import argparse
import json
import logging
import os

from tood_d2.cli.arguments import DTYPES, add_config_arguments, add_ensemble
from tood_d2.cli.fast_imports import fast_imports
from tood_d2.cli.messages import run_program
from tood_d2.cli.requirements import check_runtime, check_sahi
from tood_d2.text import printable

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "tood_R_50_FPN_1x"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    inputs = parser.add_mutually_exclusive_group(required=True)
    inputs.add_argument("--input", nargs="+", help="images, folders or globs")
    inputs.add_argument("--video-input", metavar="FILE", help="a video")
    inputs.add_argument(
        "--webcam", nargs="?", type=int, const=0, metavar="N", help="camera number N (0), shown"
    )
    add("--output", default="demo_output", help="folder for the pictures (demo_output)")
    add("--save-json", metavar="FILE", help="for the detections, in the form of COCO's results")
    add("--confidence-threshold", type=float, default=0.3, help="least score (0.3)")
    add("--classes", nargs="+", default=[], metavar="NAME", help="of detections to keep (all)")
    add_model_arguments(parser)
    args = parser.parse_args()
    if not 0 <= args.confidence_threshold <= 1:
        parser.error(f"--confidence-threshold {args.confidence_threshold}: scores are from 0 to 1")
    check_model_arguments(parser, args)
    return args


def add_model_arguments(
    parser: argparse.ArgumentParser, max_megapixels: float | None = None
) -> None:
    """Adds what :func:`build_predictor` takes; by default Pillow's limit to images stays."""
    add = parser.add_argument
    add(
        "--exported",
        "--onnx",
        metavar="FILE",
        help="model of tools/export_model.py, .onnx or .xml (OpenVINO), instead of a config",
    )
    add("--batch-size", type=int, default=1, help="images in work at once (1)")
    add(
        "--optimize",
        choices=DTYPES,
        help="make the model faster, running in this type; bfloat16 needs a GPU or a CPU with "
        "instructions for it, auto looks",
    )
    add("--tta", action="store_true", help="detect by test-time augmentation")
    add_ensemble(parser)
    add("--slice-size", type=int, metavar="PIXELS", help="detect in slices of large images, too")
    add(
        "--max-megapixels",
        type=float,
        default=max_megapixels,
        metavar="N",
        help=f"largest image to read ({max_megapixels or 179}); a larger one can fill the memory",
    )
    help = f"config, .py or .yaml; by default {DEFAULT_MODEL}'s, for COCO"
    add_config_arguments(parser, help=help)


def check_model_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends the program if the arguments of :func:`add_model_arguments` are wrong."""
    for name, least in (("batch_size", 1), ("slice_size", 32), ("max_megapixels", 1)):
        if (value := getattr(args, name)) is not None and not least <= value < 1e9:
            parser.error(f"--{name.replace('_', '-')} {value}: should be at least {least}")
    others = ("config_file", "opts", "tta", "ensemble")
    if args.exported and any(getattr(args, name) for name in others):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in others)
        parser.error(f"--exported or --onnx goes with none of {names}")


def build_predictor(args: argparse.Namespace):
    """The predictor that the arguments ask for. Limits the size of images that can be read."""
    if args.max_megapixels:
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = int(args.max_megapixels * 1e6 / 2)  # Pillow refuses twice as many
    if args.slice_size:
        check_sahi()
    if args.exported:
        check_runtime(args.exported)
        from tood_d2.inference.runtimes import ExportedPredictor

        predictor = ExportedPredictor(args.exported, args.batch_size, args.optimize)
    else:
        from tood_d2.inference import Predictor, load_ensemble

        run, how = load_asked(args), {"optimize": args.optimize, "tta": args.tta}
        if args.ensemble:
            predictor = load_ensemble(run, args.ensemble, trusted=args.trust, **how)
        else:
            predictor = Predictor(run, **how)
    if args.slice_size:
        from tood_d2.inference.slicing import SlicedPredictor

        predictor = SlicedPredictor(predictor, args.slice_size)
    return predictor


def load_asked(args: argparse.Namespace):
    """The run of the config that the arguments ask for, without ``--exported``."""
    from tood_d2 import model_zoo
    from tood_d2.config import load_run

    config, opts = args.config_file, args.opts
    if config is None:
        config = model_zoo.get_config_file(DEFAULT_MODEL)
        opts = [f"train.init_checkpoint=tood://{DEFAULT_MODEL}", *opts]
    return load_run(config, opts, args.trust)


def check_files(args: argparse.Namespace, paths: list[str], targets: list[str]) -> None:
    """Checks, before long work, that files can be written and that nothing is lost by it.

    Args:
        args: of the command line.
        paths: of the images.
        targets: pictures to write, or the video.

    Raises:
        OSError, ValueError: see :func:`.check_outputs` and :func:`.check_replaceable`.
    """
    from tood_d2.cli import outputs
    from tood_d2.inference.image_files import num_others

    opts = [opt.partition("=")[2] or opt for opt in args.opts]
    inputs = [args.video_input, args.exported, args.config_file, *opts, *paths]
    json_file = [args.save_json] if args.save_json else []
    outputs.check_outputs([*targets, *json_file], filter(None, inputs))
    if {*map(os.path.realpath, json_file)} & {*map(os.path.realpath, targets)}:
        raise ValueError(f"--save-json {args.save_json}: a picture will have this name")
    if json_file and os.path.isfile(args.save_json):
        with open(args.save_json, "rb") as file:
            if file.read(1) not in (b"", b"["):
                raise FileExistsError(
                    f"--save-json {args.save_json}: exists and has no detections, choose another"
                )
    num_replaced = sum(map(outputs.check_replaceable, targets))
    num_kept = num_others(targets, args.output) if targets else 0
    if num_replaced or num_kept:
        logger.warning(
            f"{printable(args.output)}: {num_replaced} pictures of an earlier run are replaced, "
            f"{num_kept} other images stay"
        )


def run(args: argparse.Namespace) -> int:
    with fast_imports(compiler=False):
        from tood_d2.cli.outputs import whole_file
        from tood_d2.inference.image_files import find_images, output_paths
        from tood_d2.inference.pictures import Demo, video_path

    paths = find_images(args.input or [])
    targets = output_paths(paths, args.output)
    if args.video_input:
        targets = [video_path(args.video_input, args.output)]
    check_files(args, paths, targets)
    demo, num_skipped = Demo(build_predictor(args), args.confidence_threshold, args.classes), 0
    if args.webcam is not None:
        demo.show_camera(args.webcam)
    else:
        os.makedirs(args.output, exist_ok=True)
        if args.video_input:
            demo.draw_video(args.video_input, args.output, args.batch_size)
        else:
            num_skipped = demo.draw_images(paths, args.output, args.batch_size)
    if args.save_json:
        os.makedirs(os.path.dirname(args.save_json) or ".", exist_ok=True)
        with whole_file(args.save_json) as scratch, open(scratch, "w") as file:
            json.dump(demo.results, file)
    return 1 if num_skipped else 0


def main() -> int:
    return run_program(run, parse_args())
