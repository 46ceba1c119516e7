"""Shows the test data of a training, and what its last evaluation detected, in FiftyOne.

%(prog)s output/mine
"""

import argparse
import os

from tood_d2.cli.arguments import add_trust
from tood_d2.cli.messages import run_program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="output folder of a training or an evaluation")
    parser.add_argument(
        "--predictions",
        metavar="PATH",
        help="other detections in the test data: COCO's results, .json, or a folder of "
        "tools/predict.py",
    )
    parser.add_argument(
        "--confidence-threshold", type=float, default=0.3, help="least score of a detection (0.3)"
    )
    add_trust(parser)
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    from tood_d2.cli.requirements import check_fiftyone

    check_fiftyone()
    import fiftyone as fo

    from tood_d2.config import load_run
    from tood_d2.integrations.fiftyone import build_dataset

    run = load_run(os.path.join(args.folder, "config.yaml"), trusted=args.trust)
    json_file, images = run.options.test_json, run.options.test_images
    if not json_file:
        raise ValueError(f"{args.folder}: its config has no {run.key('test_json')} to show")
    found = os.path.join(args.folder, "inference", "coco_instances_results.json")
    dataset = build_dataset(
        json_file, images, args.predictions or found, score_thresh=args.confidence_threshold
    )
    fo.launch_app(dataset).wait(-1)


def main() -> int:
    return run_program(run, parse_args())
