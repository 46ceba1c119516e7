"""Trains and evaluates TOOD from a LazyConfig (.py) or a YAML config.

%(prog)s --config-file configs/tood_R_50_FPN_1x.py --num-gpus 8
%(prog)s --config-file configs/tood_R_50_FPN_1x.yaml --eval-only MODEL.WEIGHTS model.pth
"""

import logging
from argparse import Namespace

from tood_d2.cli.arguments import DTYPES, add_ensemble, training_argument_parser
from tood_d2.cli.fast_imports import fast_imports
from tood_d2.cli.processes import launch

logger = logging.getLogger(__name__)


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
    parser.add_argument(
        "--exported",
        metavar="FILE",
        help="with --eval-only: model of tools/export_model.py, .onnx or .xml, instead of weights",
    )
    parser.add_argument(
        "--predictions",
        metavar="FOLDER",
        help="with --eval-only: results of tools/predict.py in the test images, instead of weights",
    )
    parser.add_argument(
        "--slice-size",
        type=int,
        metavar="PIXELS",
        help="with --eval-only: detect in slices of large images, too",
    )
    args = parser.parse_args(argv)
    of_evaluation = args.optimize, args.tta, args.ensemble, args.exported, args.slice_size
    if args.predictions and (any(of_evaluation) or args.resume or not args.eval_only):
        parser.error("--predictions goes with --eval-only alone")
    if any(of_evaluation) and not args.eval_only:
        names = "--optimize, --tta, --ensemble, --exported and --slice-size"
        parser.error(f"{names} go with --eval-only")
    if (args.ensemble or args.exported or args.slice_size) and args.resume:
        parser.error("--ensemble, --exported and --slice-size go without --resume")
    if args.ensemble and args.exported:
        parser.error("--ensemble goes without --exported")
    if args.slice_size is not None and args.slice_size < 32:
        parser.error(f"--slice-size {args.slice_size}: should be at least 32")
    return args


def train(args: Namespace):
    """Runs in each process."""
    with fast_imports():
        from detectron2.engine import default_setup
        from detectron2.utils import comm
        from tood_d2.checkpoint import fetch_weights
        from tood_d2.checkpoint.recovery import check_classes, load_last_checkpoint
        from tood_d2.cli.logs import setup_logging
        from tood_d2.cli.requirements import check_parquet, check_runtime, check_sahi
        from tood_d2.config import (
            fit_input_size,
            fit_schedule,
            load_run,
            note_dump,
            register_datasets,
        )
        from tood_d2.config.shipped import find_config_file
        from tood_d2.engine import Trainer, with_seed
        from tood_d2.engine.output_folder import (
            check_output_folder,
            keeping_config,
            leave_earlier_run,
            use_remote_folder,
        )

    if args.slice_size:
        check_sahi()
    if args.exported:
        check_runtime(args.exported)
    if args.predictions:
        check_parquet()
    args.config_file = find_config_file(args.config_file)  # Detectron2 reads it, too
    run = load_run(args.config_file, args.opts, args.trust)
    check_output_folder(run)
    fetched = ""
    if comm.is_main_process() and not args.eval_only:
        fetched = use_remote_folder(run, args.resume)  # first, as the log is among what it gets
    setup_logging(run.options.output_dir, comm.get_rank())
    if fetched:
        logger.info(fetched)
    run = register_datasets(run, needed=("test",) if args.eval_only else ("train", "test"))
    if not args.eval_only:
        last = load_last_checkpoint(run.options.output_dir) if args.resume else None
        run = with_seed(fit_schedule(fit_input_size(run)), last)
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
        return Trainer.test(run.cfg, load_tested(run, args))
    trainer = Trainer(run.cfg)
    trainer.checkpointer.last = last
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def load_tested(run, args: Namespace):
    """What ``--eval-only`` evaluates: a model, or something in the place of one."""
    from tood_d2.inference import Predictor, load_detector, load_ensemble, with_tta
    from tood_d2.inference.ensemble import as_model

    if args.predictions:
        from tood_d2.batch_prediction.evaluation import stored_model
        from tood_d2.batch_prediction.job import ResultFolder

        return stored_model(ResultFolder(args.predictions), run.category_ids)
    how = {"optimize": args.optimize, "tta": args.tta or run.options.tta_enabled}
    if args.exported:
        from tood_d2.inference.runtimes import ExportedPredictor

        predictor = ExportedPredictor(args.exported, optimize=args.optimize)
        if predictor.class_names != run.class_names:
            found, wanted = map(", ".join, (predictor.class_names, run.class_names))
            raise ValueError(f"--exported {args.exported}: its classes are {found}, not {wanted}")
        if how["tta"]:
            predictor.model = with_tta(run, predictor.model)
    elif args.ensemble:
        predictor = load_ensemble(run, args.ensemble, trusted=args.trust, **how)
    elif args.slice_size:
        predictor = Predictor(run, **how)
    else:
        resume_dir = run.options.output_dir if args.resume else ""
        return load_detector(run, resume_dir=resume_dir, **how)
    if args.slice_size:
        from tood_d2.inference.slicing import SlicedPredictor

        predictor = SlicedPredictor(predictor, args.slice_size)
    elif args.exported:
        return predictor.model
    return as_model(predictor)


def main() -> None:
    launch(train, parse_args())
