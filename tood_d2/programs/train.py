"""Trains and evaluates TOOD from a LazyConfig (.py) or a YAML config.

%(prog)s --config-file configs/tood_R_50_FPN_1x.py --num-gpus 8
%(prog)s --config-file configs/tood_R_50_FPN_1x.yaml --eval-only MODEL.WEIGHTS model.pth
"""

from argparse import Namespace

from tood_d2.cli.arguments import DTYPES, add_ensemble, training_argument_parser
from tood_d2.cli.processes import launch


def parse_args(argv: list[str] | None = None) -> Namespace:
    """Detectron2's arguments and ours; a wrong one ends the program.

    Args:
        argv: the command line's unless given.
    """
    parser = training_argument_parser(epilog=__doc__)
    parser.add_argument(
        "--optimize",
        choices=DTYPES,
        help="with --eval-only: make the model faster, running in this type; bfloat16 needs a GPU "
        "or a CPU with instructions for it, auto looks",
    )
    parser.add_argument(
        "--tta", action="store_true", help="with --eval-only: detect by test-time augmentation"
    )
    add_ensemble(parser)
    args = parser.parse_args(argv)
    if (args.optimize or args.tta or args.ensemble) and not args.eval_only:
        parser.error("--optimize, --tta and --ensemble go with --eval-only")
    if args.ensemble and args.resume:
        parser.error("--ensemble goes without --resume: name the weights")
    return args


def train(args: Namespace):
    """Runs in each process."""
    from detectron2.engine import default_setup
    from detectron2.utils import comm
    from tood_d2.checkpoint import fetch_weights
    from tood_d2.checkpoint.recovery import check_classes, load_last_checkpoint
    from tood_d2.cli.logs import setup_logging
    from tood_d2.config import fit_schedule, load_run, note_dump, register_datasets
    from tood_d2.config.shipped import find_config_file
    from tood_d2.engine import Trainer, with_seed
    from tood_d2.engine.output_folder import check_output_folder, keeping_config, leave_earlier_run
    from tood_d2.inference import load_detector, load_ensemble
    from tood_d2.inference.ensemble import as_model

    args.config_file = find_config_file(args.config_file)  # Detectron2 reads it, too
    run = load_run(args.config_file, args.opts, args.trust)
    check_output_folder(run)
    setup_logging(run.options.output_dir, comm.get_rank())
    run = register_datasets(run, needed=("test",) if args.eval_only else ("train", "test"))
    if not args.eval_only:
        last = load_last_checkpoint(run.options.output_dir) if args.resume else None
        run = with_seed(fit_schedule(run), last)
        if last is None:
            fetch_weights(run.options.init_checkpoint, run.key("init_checkpoint"))
            if comm.is_main_process():
                leave_earlier_run(run)
        else:
            check_classes(last, run.known_class_names)
    with keeping_config(run):
        default_setup(run.cfg, args)
    note_dump(run)

    if args.eval_only:
        resume_dir = run.options.output_dir if args.resume else ""
        tta = args.tta or run.options.tta_enabled
        how = {"optimize": args.optimize, "tta": tta}
        if args.ensemble:
            model = as_model(load_ensemble(run, args.ensemble, trusted=args.trust, **how))
        else:
            model = load_detector(run, resume_dir=resume_dir, **how)
        return Trainer.test(run.cfg, model)
    trainer = Trainer(run.cfg)
    trainer.checkpointer.last = last
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def main() -> None:
    launch(train, parse_args())
