"""Suggests a learning rate: trains some steps with rising ones and sees where the loss is lowest.

%(prog)s --config-file configs/tood_R_18_FPN_small.py --opts dataset.source=export/
"""

import argparse
import os

from tood_d2.cli.arguments import add_config_arguments
from tood_d2.cli.messages import run_program


def run(args: argparse.Namespace) -> None:
    from detectron2.utils.env import seed_all_rng
    from tood_d2.checkpoint import fetch_weights
    from tood_d2.cli.outputs import check_outputs, save_figure
    from tood_d2.config import fit_schedule, load_run, register_datasets
    from tood_d2.engine.lr_range_test import draw_losses, measure_losses, suggest_rate

    check_outputs([args.output], [args.config_file])
    loaded = load_run(args.config_file, args.opts, args.trust)
    loaded = fit_schedule(register_datasets(loaded, needed=("train", "test")))
    loaded = loaded.with_options(seed=max(loaded.options.seed, 0))
    seed_all_rng(loaded.options.seed)
    fetch_weights(loaded.options.init_checkpoint, loaded.key("init_checkpoint"))
    lr = loaded.options.lr
    lowest, highest = args.lowest or lr / 100, args.highest or lr * 100
    rates, losses = measure_losses(loaded, lowest, highest, args.num_iters)
    suggested = suggest_rate(rates, losses)
    os.makedirs(os.path.dirname(args.output) or ".", exist_ok=True)
    save_figure(draw_losses(rates, losses, suggested), args.output)
    print(f"{loaded.key('lr')}={suggested:.1e} (the config's is {lr:g}), see {args.output}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--lowest", type=float, help="first learning rate (a hundredth of the config's)")
    add("--highest", type=float, help="last learning rate (a hundred times the config's)")
    add("--num-iters", type=int, default=100, help="steps (100)")
    add("--output", default="output/lr_range.png", help="picture (output/lr_range.png)")
    add_config_arguments(parser, required=True)
    return run_program(run, parser.parse_args())
