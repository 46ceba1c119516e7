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
from functools import partial

from tood_d2.cli.addresses import listen
from tood_d2.cli.arguments import add_config_arguments
from tood_d2.cli.messages import short_errors
from tood_d2.cli.requirements import check_requirements, check_runtime

FIRST_MODEL = os.path.join("demo", "model_final.pth")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--models", default="output", help="folder to look for models in (default: output)")
    add("--host", default="127.0.0.1", help="address to serve; 0.0.0.0 lets other machines in")
    add("--port", type=int, default=7860, help="port to serve (default: 7860)")
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
    try:
        listen(args.host, args.port).close()
    except OSError as error:
        parser.error(str(error))
    return args


def find_predictors(args: argparse.Namespace) -> dict[str, Callable]:
    """Functions that give a model's predictor, by names; the model of `make demo` first."""
    from tood_d2.config import load_run
    from tood_d2.inference import DensePredictor, find_trained_models

    if args.exported:
        for path in args.exported:
            check_runtime(path)
        from tood_d2.inference.runtimes import ExportedPredictor

        return {path: partial(ExportedPredictor, path) for path in args.exported}
    if args.config_file is not None:
        run = load_run(args.config_file, args.opts, args.trust)
        return {args.config_file: lambda: DensePredictor(run)}
    models = find_trained_models(args.models)
    if not models:
        raise FileNotFoundError(
            f"{args.models}: no trained model in it, which is a folder with config.yaml and "
            "model_final.pth. Train one by 'make demo', or name one with --models FOLDER or with "
            "--config-file and --opts"
        )
    names = sorted(models, key=lambda name: name != FIRST_MODEL)
    return {
        name: lambda model=models[name]: DensePredictor(model.load_run(args.trust))
        for name in names
    }


def main() -> None:
    args = parse_args()
    with short_errors(os.path.basename(sys.argv[0])):
        from tood_d2.cli.logs import setup_logging

        check_requirements()
        setup_logging()

        from .page import App, build_page

        page = build_page(App(find_predictors(args)))
        page.queue(api_open=False).launch(
            server_name=args.host,
            server_port=args.port,
            prevent_thread_lock=True,
            share=False,
            ssr_mode=False,
            quiet=True,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            max_file_size="100mb",
        )
    print(f"Open {page.local_url} in a browser. Ctrl+C ends.", flush=True)
    page.block_thread()
