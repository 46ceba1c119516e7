"""Measures how well a detector's classification and localisation agree (Table 6 of the paper).

%(prog)s --config-file configs/tood_R_50_FPN_1x.py \
    --opts train.init_checkpoint=tood://tood_R_50_FPN_1x
"""

import argparse
import json
import os

from tood_d2.cli.arguments import add_config_arguments
from tood_d2.cli.messages import run_program


def run(args: argparse.Namespace) -> None:
    from detectron2.data import build_detection_test_loader
    from tood_d2.cli.outputs import check_outputs, save_figure, whole_file
    from tood_d2.config import load_run, register_datasets
    from tood_d2.inference import check_supported, load_detector
    from tood_d2.inspection.alignment import analyze, draw_alignment, format_table

    names = ("alignment.json", "alignment.png")
    json_file, picture = (os.path.join(args.output, name) for name in names)
    opts = [opt.partition("=")[2] or opt for opt in args.opts]
    check_outputs([json_file, picture], [args.config_file, *opts])
    os.makedirs(args.output, exist_ok=True)
    run = register_datasets(load_run(args.config_file, args.opts, args.trust), needed=("test",))
    model = load_detector(run)
    check_supported(model)
    loader = build_detection_test_loader(run.test_dicts(), mapper=run.annotated_test_mapper())
    evaluator = analyze(model, loader)
    summary = evaluator.summarize()
    with whole_file(json_file) as scratch, open(scratch, "w") as file:
        json.dump(summary, file, indent=1)
    save_figure(draw_alignment(evaluator, summary), picture)
    print(format_table(summary))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", default="output/alignment", help="folder for the results")
    add_config_arguments(parser, required=True)
    return run_program(run, parser.parse_args())
