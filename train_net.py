#!/usr/bin/env python
"""Trains and evaluates TOOD from a LazyConfig (.py) or a YAML config.

train_net.py --config-file configs/tood_R_50_FPN_1x.py --num-gpus 8
train_net.py --config-file configs/tood_R_50_FPN_1x.yaml --eval-only MODEL.WEIGHTS model.pth
"""

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, default_setup, launch
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from tood_d2.engine import (
    Trainer,
    build_model,
    evaluate,
    load_config,
    load_weights,
    register_datasets,
    train,
)


def main(args):
    cfg = load_config(args.config_file, args.opts)
    return (main_yaml if isinstance(cfg, CfgNode) else main_lazy)(cfg, args)


def main_yaml(cfg, args):
    cfg.freeze()
    setup(cfg, cfg.OUTPUT_DIR, args)
    if args.eval_only:
        resume_dir = cfg.OUTPUT_DIR if args.resume else ""
        return Trainer.test(cfg, load_weights(build_model(cfg), cfg, resume_dir))
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def main_lazy(cfg, args):
    register_datasets(cfg)
    setup(cfg, cfg.train.output_dir, args)
    if args.eval_only:
        resume_dir = cfg.train.output_dir if args.resume else ""
        return evaluate(cfg, load_weights(build_model(cfg), cfg, resume_dir))
    return train(cfg, resume=args.resume)


def setup(cfg, output_dir, args):
    default_setup(cfg, args)
    setup_logger(output_dir, distributed_rank=comm.get_rank(), name="tood_d2")


if __name__ == "__main__":
    args = default_argument_parser(epilog=__doc__).parse_args()
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )
