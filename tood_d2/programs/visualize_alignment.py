"""Draws where a detector, or two, classifies and localises objects best (Figure 4 of the paper).

%(prog)s --config-file configs/tood_R_50_FPN_1x.py \
    --opts train.init_checkpoint=tood://tood_R_50_FPN_1x --image-ids 139 285
"""

import argparse
import os

from tood_d2.cli.arguments import add_trust
from tood_d2.cli.messages import run_program

NUM_IMAGES = 5


def run(args: argparse.Namespace) -> None:
    from tood_d2.config import load_run
    from tood_d2.inspection import objects
    from tood_d2.modeling import TaskAlignedHead

    os.makedirs(args.output, exist_ok=True)
    detectors = [objects.load_annotated(load_run(args.config_file, args.opts, args.trust))]
    chosen = objects.choose_objects(detectors[0], args.image_ids, args.objects, NUM_IMAGES)
    if args.internals and not isinstance(detectors[0].model.head, TaskAlignedHead):
        raise ValueError("--internals needs a detector with a task-aligned head")
    if args.other_config_file is not None:
        other = load_run(args.other_config_file, args.other_opts, args.trust)
        detectors.append(objects.load_annotated(other))
        objects.check_same_objects(*detectors, chosen)
    objects.draw_objects(detectors, chosen, args.output, args.internals)
    print(f"{sum(map(len, chosen.values()))} objects, drawn in {args.output}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", required=True, help="config of any detector, .py or .yaml")
    add_trust(parser)
    add("--opts", nargs="*", default=[], help="config overrides, as train.init_checkpoint=FILE")
    add("--other-config-file", help="config of a detector to compare with")
    add("--other-opts", nargs="*", default=[], help="overrides of that config")
    add(
        "--image-ids",
        nargs="+",
        help=f"in the data set, by default those of the first {NUM_IMAGES} images with objects",
    )
    add("--objects", nargs="+", type=int, help="indices within each image, by default all")
    add("--output", default="output/alignment_figures", help="folder for the pictures")
    add(
        "--internals",
        action="store_true",
        help="also draw the layer attention and the offsets of the (first) detector's T-head",
    )
    args = parser.parse_args()
    if args.other_opts and args.other_config_file is None:
        parser.error("--other-opts needs --other-config-file")
    return run_program(run, args)
