"""Pre-labels images in Label Studio, and learns from its annotations: a machine learning backend.

%(prog)s --config-file output/mine/config.yaml \\
    --opts train.init_checkpoint=output/mine/model_final.pth

In Label Studio, add http://localhost:9090 under Settings, Model. LABEL_STUDIO_URL and
LABEL_STUDIO_API_KEY tell where to fetch images and annotations; BASIC_AUTH_USER and
BASIC_AUTH_PASS, if they are set, what Label Studio has to answer.
"""

import argparse
import hashlib
import json
import logging
import os
import signal
import sys
from pathlib import Path

from tood_d2.cli.addresses import add_address, check_address
from tood_d2.cli.messages import run_program
from tood_d2.cli.outputs import check_folder
from tood_d2.cli.requirements import check_label_studio

from .predict import add_model_arguments, build_predictor, check_model_arguments
from .predict_collection import describe_model

logger = logging.getLogger(__name__)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add_address(parser, port=9090)
    add("--confidence-threshold", type=float, default=0.3, help="least score (0.3)")
    add("--output", default="output/label_studio", help="folder (output/label_studio)")
    add("--train-config-file", metavar="FILE", help="config to train with (the model's own)")
    add("--train-opts", nargs="+", default=[], metavar="KEY=VALUE", help="overrides for training")
    add_model_arguments(parser)
    args = parser.parse_args()
    if not 0 <= args.confidence_threshold <= 1:
        parser.error(f"--confidence-threshold {args.confidence_threshold}: scores are from 0 to 1")
    check_model_arguments(parser, args)
    check_address(parser, args)
    return args


def load_model(args: argparse.Namespace):
    """The model that the arguments ask for, and its version, which changes with its results."""
    from tood_d2.integrations.served_model import ServedModel

    described = json.dumps(describe_model(args), sort_keys=True)
    path = Path(args.exported or args.config_file or "coco")
    name = path.parent.name if path.name == "config.yaml" else path.stem
    version = f"{name}-{hashlib.sha256(described.encode()).hexdigest()[:8]}"
    return ServedModel(build_predictor(args), version, args.confidence_threshold)


def load_trained(args: argparse.Namespace, folder: Path):
    """The model in the output folder of a training, run as the arguments say."""
    from tood_d2.config import load_run
    from tood_d2.inference import find_trained_model

    config_file, weights = find_trained_model(folder)
    key = load_run(config_file, trusted=args.trust).key("init_checkpoint")
    trained = {"config_file": config_file, "opts": [f"{key}={weights}"]}
    return load_model(
        argparse.Namespace(**vars(args) | trained | {"exported": None, "ensemble": []})
    )


def fine_tuning(args: argparse.Namespace):
    """What trains on a project's annotations, None if there is no config to train with."""
    from tood_d2.config import load_run
    from tood_d2.integrations.fine_tuning import FineTuning

    config_file, opts = args.train_config_file, args.train_opts
    if config_file is None:
        config_file, opts = args.config_file, [*args.opts, *opts]
    if config_file is None:
        return None
    run = load_run(config_file, opts, args.trust)
    trust = [x for package in args.trust for x in ("--trust", package)]
    return FineTuning(args.output, run, ["--config-file", config_file, *trust, *opts])


def run(args: argparse.Namespace) -> None:
    check_folder(args.output)
    os.makedirs(args.output, exist_ok=True)
    os.environ.setdefault("MODEL_DIR", args.output)  # where the package keeps its cache
    check_label_studio()
    from tood_d2.integrations.label_studio import build_app

    for name in ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY"):
        if not os.environ.get(name):
            logger.warning(f"{name} is not set: images that were uploaded cannot be fetched")
    tuning = fine_tuning(args)
    app = build_app(load_model(args), lambda folder: load_trained(args, folder), tuning)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        app.run(host=args.host, port=args.port)
    finally:
        if tuning is not None:
            tuning.stop()


def main() -> int:
    return run_program(run, parse_args())
