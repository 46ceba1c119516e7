"""Detects in any number of images, here or on a Ray cluster, and writes Parquet files.

%(prog)s --input images/ --output predictions --config-file output/mine/config.yaml \\
    --opts train.init_checkpoint=output/mine/model_final.pth
%(prog)s --input s3://bucket/part-*.tar --output s3://bucket/predictions --exported model.xml --ray

Inputs are folders (with those below), globs, lists (.txt), COCO files, Parquet files and archives
(.tar), on the disk or wherever fsspec finds them. Started again, it goes on where it was stopped.
An image that cannot be read is a row with an error.
"""

import argparse
import hashlib
import logging
import os
import time
from pathlib import Path

from tood_d2.cli.messages import run_program
from tood_d2.cli.requirements import check_parquet, check_ray

from .predict import add_model_arguments, build_predictor, check_model_arguments, load_asked

logger = logging.getLogger(__name__)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--input", nargs="+", required=True, help="folders, globs, .txt, .json, .parquet, .tar")
    add("--images", metavar="FOLDER", help="that paths in lists and COCO files are relative to")
    add("--output", default="predictions", help="folder for the results (predictions)")
    add("--coco", metavar="FILE", help="write all results in COCO's form as well")
    add("--shard-size", type=int, default=256, metavar="N", help="images of a file (256)")
    add("--confidence-threshold", type=float, default=0.0, help="least score (the model's own)")
    add(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="detect on the Ray cluster at this address (auto: the one of this machine), or "
        "without one on a new one on this machine",
    )
    add("--workers", type=int, metavar="N", help="actors of Ray at most (as there is room for)")
    add("--cpus-per-worker", type=float, default=1, metavar="N", help="cores of an actor (1)")
    add("--gpus-per-worker", type=float, default=0, metavar="N", help="GPUs of an actor (0)")
    add_model_arguments(parser)
    args = parser.parse_args()
    if not 0 <= args.confidence_threshold <= 1:
        parser.error(f"--confidence-threshold {args.confidence_threshold}: scores are from 0 to 1")
    for name in ("shard_size", "workers"):
        if (value := getattr(args, name)) is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} {value}: should be at least 1")
    if args.cpus_per_worker <= 0 or args.gpus_per_worker < 0:
        parser.error("--cpus-per-worker should be above 0 and --gpus-per-worker not below it")
    check_model_arguments(parser, args)
    return args


def run(args: argparse.Namespace) -> None:
    check_parquet()
    if args.ray:
        check_ray()
    from tqdm import tqdm

    from tood_d2.batch_prediction.evaluation import write_coco_results
    from tood_d2.batch_prediction.job import Job, ResultFolder
    from tood_d2.batch_prediction.sources import find_items
    from tood_d2.cli.outputs import check_outputs

    if args.coco:
        check_outputs([args.coco], args.input)
    items = find_items(args.input, args.images)
    job, folder = Job.of(items, args.shard_size, describe_model(args)), ResultFolder(args.output)
    missing = folder.prepare(job)
    num_done = job.num_images - sum(len(job.positions(x)) for x in missing)
    if num_done:
        logger.info(f"{args.output} has the results of {num_done} images already")
    start = time.perf_counter()
    with tqdm(total=job.num_images, initial=num_done, unit="image", disable=None) as progress:
        if args.ray and missing:
            from tood_d2.batch_prediction.ray_pool import detect_on_ray

            for number in detect_on_ray(build_predictor, args, items, job, missing):
                progress.update(number)
        elif missing:
            detect_here(args, items, job, missing, folder, progress.update)
    seconds = time.perf_counter() - start
    print(
        f"{job.num_images} images in {job.num_shards} files in {args.output}, "
        f"{job.num_images - num_done} of them in {seconds:.0f} seconds now; "
        f"{folder.num_errors()} could not be read"
    )
    if args.coco:
        os.makedirs(os.path.dirname(args.coco) or ".", exist_ok=True)
        write_coco_results(folder, args.coco)


def detect_here(args, items, job, shards, folder, update) -> None:
    """Detects in shards in this process."""
    from tood_d2.batch_prediction.detections import detect_items

    predictor = build_predictor(args)
    for shard in shards:
        positions = job.positions(shard)
        table = detect_items(
            predictor,
            items[positions.start : positions.stop],
            batch_size=args.batch_size,
            score_thresh=args.confidence_threshold,
            report=update,
        )
        folder.write(job, shard, table)


def describe_model(args: argparse.Namespace) -> dict[str, str]:
    """What results depend on, besides the images: options, and the fingerprint of each file.

    Raises:
        OSError: if a file cannot be read.
    """
    names = ("batch_size", "confidence_threshold", "optimize", "slice_size", "tta")
    described = {name: str(getattr(args, name)) for name in names}
    if not args.exported:
        described["opts"] = " ".join(args.opts)
        # The machines of a cluster may differ in their device.
        described["config"] = _fingerprint(
            load_asked(args).with_options(device="cpu").dump().encode()
        )
    for path in find_weights(args):
        described[path] = _fingerprint(Path(path).read_bytes())
    return described


def _fingerprint(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def find_weights(args: argparse.Namespace) -> list[str]:
    """The files, on this machine, of a model that :func:`.build_predictor` makes."""
    if args.exported:
        files = [args.exported]
        if args.exported.endswith(".xml"):
            files.append(os.path.splitext(args.exported)[0] + ".bin")
        return files
    from detectron2.utils.file_io import PathManager
    from tood_d2.inference.trained_models import find_trained_model

    files = [find_trained_model(path).weights for path in args.ensemble]
    if weights := load_asked(args).options.init_checkpoint:
        files.append(PathManager.get_local_path(weights))
    return files


def main() -> int:
    return run_program(run, parse_args())
