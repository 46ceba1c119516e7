#!/usr/bin/env python
"""Trains and evaluates TOOD from a LazyConfig (.py) or a YAML config.

train_net.py --config-file configs/tood_R_50_FPN_1x.py --num-gpus 8
train_net.py --config-file configs/tood_R_50_FPN_1x.yaml --eval-only MODEL.WEIGHTS model.pth
"""

from argparse import Namespace

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from tood_d2.checkpoint import fetch_weights, load_weights, weights_of
from tood_d2.checkpoint.recovery import load_last_checkpoint
from tood_d2.cli import launch
from tood_d2.config import (
    build_model,
    count_training_images,
    fit_schedule,
    load_config,
    register_datasets,
)
from tood_d2.engine import Trainer, fix_seed, train
from tood_d2.evaluation import evaluate
from tood_d2.inference import with_tta
from tood_d2.inference.optimization import DTYPES, optimize_for_inference


def parse_args(argv: list[str] | None = None) -> Namespace:
    """Detectron2's arguments and ours; a wrong one ends the program.

    Args:
        argv: the command line's unless given.
    """
    parser = default_argument_parser(epilog=__doc__)
    parser.add_argument(
        "--optimize",
        choices=DTYPES,
        help="with --eval-only: make the model faster, running in this type",
    )
    parser.add_argument(
        "--tta", action="store_true", help="with --eval-only: detect by test-time augmentation"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=30,
        metavar="MINUTES",
        help="that processes wait for one that does not answer (30)",
    )
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    args = parser.parse_args(argv)
    if (args.optimize or args.tta) and not args.eval_only:
        parser.error("--optimize and --tta go with --eval-only")
    return args


def main(args):
    cfg = load_config(args.config_file, args.opts)
    lazy = not isinstance(cfg, CfgNode)
    output_dir = cfg.train.output_dir if lazy else cfg.OUTPUT_DIR
    setup_logger(output_dir, distributed_rank=comm.get_rank(), name="tood_d2")
    register_datasets(cfg)
    if not args.eval_only:
        fit_schedule(cfg, lambda: count_training_images(cfg))
        last = load_last_checkpoint(output_dir) if args.resume else None
        fix_seed(cfg, last)
        if last is None:
            fetch_weights(*weights_of(cfg))
    if not lazy:
        cfg.freeze()
    default_setup(cfg, args)

    if args.eval_only:
        model = load_weights(build_model(cfg), *weights_of(cfg), output_dir if args.resume else "")
        if args.optimize:
            model = optimize_for_inference(model, DTYPES[args.optimize])
        if args.tta or (not lazy and cfg.TEST.AUG.ENABLED):
            model = with_tta(model, cfg)
        return evaluate(cfg, model) if lazy else Trainer.test(cfg, model)
    if lazy:
        return train(cfg, resume=args.resume, last=last)
    trainer = Trainer(cfg)
    trainer.checkpointer.last = last
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


if __name__ == "__main__":
    launch(main, parse_args())
