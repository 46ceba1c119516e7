"""Serves a model over HTTP: images in, detections as JSON out.

%(prog)s --exported model.xml
%(prog)s --config-file output/demo/config.yaml --port 8000 \\
    --opts train.init_checkpoint=output/demo/model_final.pth
curl --data-binary @image.jpg http://127.0.0.1:8000/v1/detect
"""

import argparse
import hashlib
import ipaddress
import logging
import os
import signal
import sys
from functools import partial
from pathlib import Path

from tood_d2.cli.addresses import add_address, listen
from tood_d2.cli.fast_imports import fast_imports
from tood_d2.cli.messages import run_program
from tood_d2.cli.requirements import check_service

from .predict import DEFAULT_MODEL, add_model_arguments, build_predictor, check_model_arguments
from .predict_collection import find_weights

logger = logging.getLogger(__name__)

TOKEN = "TOOD_TOKEN"
"""Variable of the environment with the token that requests have to bring."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add_address(parser, port=8000)
    add(
        "--token-file",
        metavar="FILE",
        help=f"file with a token that requests have to bring; or set {TOKEN} to a token",
    )
    add("--confidence-threshold", type=float, default=0.3, help="least score by default (0.3)")
    add(
        "--batch-wait",
        type=float,
        default=0,
        metavar="MS",
        help="how long an image waits for others if the network has nothing to do (0)",
    )
    add("--max-megabytes", type=float, default=20, metavar="N", help="largest body (20)")
    add("--max-queue", type=int, default=32, metavar="N", help="requests in work at once (32)")
    add(
        "--max-wait",
        type=float,
        default=30,
        metavar="SECONDS",
        help="until an image that was sent is detected in (30)",
    )
    add(
        "--upload-timeout",
        type=float,
        default=30,
        metavar="SECONDS",
        help="until all of an image is sent (30)",
    )
    add_model_arguments(parser, max_megapixels=40)
    args = parser.parse_args()
    if not 0 <= args.confidence_threshold <= 1:
        parser.error(f"--confidence-threshold {args.confidence_threshold}: scores are from 0 to 1")
    if not 0 <= args.batch_wait < 1e5:
        parser.error(f"--batch-wait {args.batch_wait}: should be at least 0")
    for name in ("max_megabytes", "max_queue", "max_wait", "upload_timeout"):
        if not 0 < (value := getattr(args, name)) < 1e6:
            parser.error(f"--{name.replace('_', '-')} {value}: should be above 0")
    check_model_arguments(parser, args)
    return args


def run(args: argparse.Namespace) -> None:
    check_service()
    token = read_token(args.token_file)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn calls it in the end, too
    with listen(args.host, args.port) as listener:
        host, port = listener.getsockname()[:2]
        if not token and not ipaddress.ip_address(host).is_loopback:
            logger.warning(
                f"Whoever reaches {host} can use the model, unless --token-file or {TOKEN} names a "
                "token"
            )
        with fast_imports(compiler=False):
            from tood_d2.service.answers import Limits
            from tood_d2.service.app import Service
            from tood_d2.service.server import serve

        service = Service(
            partial(load, args),
            limits=Limits(**{name: getattr(args, name) for name in Limits.model_fields}),
            confidence_threshold=args.confidence_threshold,
            batch_size=args.batch_size,
            batch_wait=args.batch_wait / 1000,
            token=token,
        )
        host = f"[{host}]" if ":" in host else host
        print(f"http://{host}:{port}/docs tells how to use it. Ctrl+C ends.", flush=True)
        serve(service, listener)


def load(args: argparse.Namespace):
    """The ``ServedModel`` that the arguments ask for."""
    from tood_d2.service.batching import ServedModel

    predictor, digest = build_predictor(args), hashlib.sha256()
    for path in find_weights(args):
        digest.update(Path(path).read_bytes())
    return ServedModel(predictor, model_name(args), digest.hexdigest()[:12])


def model_name(args: argparse.Namespace) -> str:
    """The name of the exported model or of the config; training calls all of them config.yaml."""
    path = Path(os.path.abspath(args.exported or args.config_file or DEFAULT_MODEL))
    return path.parent.name if path.stem == "config" else path.stem


def read_token(path: str | None) -> bytes | None:
    """The token in a file, else that in the environment, if there is one.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if there is no token in it, or one that a header cannot bring.
    """
    place = path or TOKEN
    text = Path(path).read_text("latin-1") if path else os.environ.get(TOKEN)
    if text is None:
        return None
    token = text.strip()
    if not token.isascii() or not token.isprintable() or len(token.split()) != 1:
        raise ValueError(f"{place}: a token is one word of ASCII characters")
    return token.encode()


def main() -> int:
    return run_program(run, parse_args())
