"""Shares a trained model by the Hugging Face Hub, or as a folder.

%(prog)s output/mine --to user/name --pictures images/ --license cc-by-4.0
%(prog)s output/mine --output shared

The model comes with its config, the names of its classes and a card, README.md, that says on what
it was trained, which AP training measured, and how it is used. Paths of this machine are left out.
"""

import argparse

from tood_d2.cli.arguments import add_trust
from tood_d2.cli.fast_imports import fast_imports
from tood_d2.cli.messages import run_program
from tood_d2.cli.requirements import check_hub
from tood_d2.text import printable


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("model", help="output folder of a training, or a file of weights in one")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--to", metavar="USER/NAME", help="on the Hub; made if it is not there")
    target.add_argument("--output", metavar="FOLDER", help="folder to write, new or empty")
    add("--pictures", nargs="+", default=[], help="images to show with detections; the first four")
    add("--license", default="", metavar="ID", help="of the model, such as cc-by-4.0")
    add("--private", action="store_true", help="let nobody else see it, when it is made")
    add_trust(parser)
    args = parser.parse_args()
    if args.private and args.output:
        parser.error("--private goes with --to")
    return args


def run(args: argparse.Namespace) -> None:
    check_hub()
    with fast_imports(compiler=False):
        from tood_d2.inference.image_files import find_images
        from tood_d2.integrations.hub import PretrainedPredictor, check_empty
        from tood_d2.integrations.hub_client import open_hub
        from tood_d2.integrations.model_card import check_license

    how = {"pictures": find_images(args.pictures), "license": check_license(args.license)}
    if args.output:
        check_empty(args.output)
    else:
        open_hub(args.to)
    predictor = PretrainedPredictor.from_training(args.model, trusted=args.trust)
    if args.output:
        predictor.save_pretrained(args.output, **how)
        print(f"{printable(args.output)}: written; read its README.md before you pass it on")
    else:
        url = predictor.push_to_hub(args.to, private=args.private or None, **how)
        print(f"{url}: uploaded; read its card, which you can edit there")


def main() -> int:
    return run_program(run, parse_args())
