"""Serves a page in the browser to try trained models on.

%(prog)s
%(prog)s --config-file configs/tood_R_50_FPN_1x.py --opts train.init_checkpoint=model.pth
%(prog)s --exported model.xml

Without --config-file and --exported it offers the models that training left in a folder, the one
of `make demo` first.
"""

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable

from tood_d2.cli.addresses import add_address, check_address
from tood_d2.cli.arguments import add_config_arguments
from tood_d2.cli.messages import short_errors
from tood_d2.cli.requirements import check_requirements, check_runtime

LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")
FIRST_MODEL = os.path.join("demo", "model_final.pth")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--models", default="output", help="folder to look for models in (default: output)")
    add_address(parser, port=7860)
    add(
        "--examples",
        metavar="FOLDER",
        help="of images to offer (default: the model's test data, unless --host lets others in)",
    )
    add(
        "--exported", nargs="+", metavar="FILE", help="models of tools/export_model.py, .onnx, .xml"
    )
    add_config_arguments(parser, help="config of the only model, .py or .yaml")
    args = parser.parse_args()
    if args.exported and args.config_file is not None:
        parser.error("--exported goes without --config-file")
    if args.opts and args.config_file is None:
        parser.error("--opts needs --config-file")
    if importlib.util.find_spec("gradio") is None:
        parser.error("Gradio is missing: install it by pip install gradio")
    check_address(parser, args)
    return args


def find_models(args: argparse.Namespace) -> dict[str, Callable]:
    """Functions that load models of the page, by names; the model of `make demo` first."""
    from tood_d2.config import Run, load_run
    from tood_d2.inference import DensePredictor, find_trained_models
    from tood_d2.inference.image_files import find_images
    from tood_d2.page.models import Model, find_test_images

    examples = find_images([args.examples]) if args.examples else None
    is_public = args.host not in LOCAL_HOSTS

    def load(run: Run) -> Model:
        images = [] if is_public else find_test_images(run)
        return Model(DensePredictor(run), images if examples is None else examples)

    if args.exported:
        for path in args.exported:
            check_runtime(path)
        from tood_d2.inference.runtimes import ExportedPredictor

        return {
            path: lambda path=path: Model(ExportedPredictor(path), examples or [])
            for path in args.exported
        }
    if args.config_file is not None:
        run = load_run(args.config_file, args.opts, args.trust)
        return {args.config_file: lambda: load(run)}
    models = find_trained_models(args.models)
    if not models:
        raise FileNotFoundError(
            f"{args.models}: no trained model in it, which is a folder with config.yaml and "
            "model_final.pth. Train one by 'make demo', or name one with --models FOLDER or with "
            "--config-file and --opts"
        )
    names = sorted(models, key=lambda name: name != FIRST_MODEL)
    return {name: lambda model=models[name]: load(model.load_run(args.trust)) for name in names}


def main() -> None:
    args = parse_args()
    with short_errors(os.path.basename(sys.argv[0])):
        from tood_d2.cli.logs import setup_logging

        check_requirements()
        setup_logging()

        from tood_d2.page.app import App
        from tood_d2.page.layout import build_page
        from tood_d2.page.server import serve

        page = build_page(App(find_models(args)))
        serve(page, args.host, args.port)
    print(f"Open {page.local_url} in a browser. Ctrl+C ends.", flush=True)
    page.block_thread()
