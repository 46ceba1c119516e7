"""Ranks annotations that a trained model contradicts: the command `dataset.py suspects`."""

import argparse
import json
import logging
import os
from collections import Counter

from tood_d2.cli.requirements import check_requirements

NUM_DRAWN = 24
NUM_PRINTED = 10

logger = logging.getLogger("tood_d2")


def suspects(args: argparse.Namespace) -> int:
    """Writes suspects.json and suspects.png.

    Returns:
        1 if an image could not be read, else 0.
    """
    from tood_d2.cli.outputs import check_outputs, whole_file
    from tood_d2.data.coco.image_files import find_image_files
    from tood_d2.data.coco.reading import check_image_headers, read_sound_coco

    check_requirements()
    json_file, picture = (os.path.join(args.output, f"suspects.{x}") for x in ("json", "png"))
    content = read_sound_coco(args.json)
    images = content["images"]
    check_image_headers(images, args.json, args.images, damaged_ok=True)
    paths = find_image_files([x["file_name"] for x in images], args.images)
    opts = [x.partition("=")[2] or x for x in args.opts]
    check_outputs([json_file, picture], [args.json, args.config_file, *opts, *paths])

    from tood_d2.inspection.suspects import find_suspects  # PyTorch, from here on

    detections, num_skipped = _detect(args, content, paths)
    found = find_suspects(content, detections)
    os.makedirs(args.output, exist_ok=True)
    ranked = [{"rank": rank} | x._asdict() for rank, x in enumerate(found, start=1)]
    with whole_file(json_file) as scratch, open(scratch, "w") as file:
        json.dump(ranked, file, indent=1)
    _draw(found, dict(zip((x["id"] for x in images), paths, strict=True)), picture)
    _print(found, [json_file, picture])
    return 1 if num_skipped else 0


def _detect(args: argparse.Namespace, content: dict, paths: list[str]) -> tuple[list, int]:
    """The detections of each image, none in one that cannot be read, and the number of these."""
    from tqdm import tqdm

    from tood_d2.config import load_run
    from tood_d2.data.images import read_image
    from tood_d2.evaluation import coco_results
    from tood_d2.inference import Predictor

    predictor = Predictor(load_run(args.config_file, args.opts, args.trust))
    _check_classes(content, args.json, predictor.class_names)
    detections, num_skipped = [], 0
    for path in tqdm(paths, unit="img", disable=None):
        try:
            image = read_image(path, "RGB")
        except (OSError, ValueError) as error:
            logger.error(f"skipped: {error}")
            num_skipped += 1
            detections.append([])
        else:
            (instances,) = predictor.detect([image])
            name = os.path.basename(path)
            classes = predictor.class_names, predictor.category_ids
            detections.append(coco_results(instances, name, *classes))
    return detections, num_skipped


def _check_classes(content: dict, json_file: str, class_names: list[str]) -> None:
    from tood_d2.data.coco.annotation_arrays import annotation_arrays

    names = [x["name"] for x in content["categories"]]
    unknown = {names[row] for row in annotation_arrays(content).category_rows} - {*class_names}
    if unknown:
        raise ValueError(
            f"{json_file} has boxes of {', '.join(sorted(unknown))}, which the model does not "
            f"know, only {', '.join(class_names)}: take a model that was trained on these classes"
        )
    if others := {*class_names} - {*names}:
        logger.warning(f"{json_file} has no class {', '.join(sorted(others))}: not looked for")


def _draw(found: list, image_files: dict, path: str) -> None:
    from tood_d2.cli.outputs import whole_file
    from tood_d2.inspection.suspect_figures import draw_suspects

    with whole_file(path) as scratch:
        draw_suspects(found[:NUM_DRAWN], image_files).savefig(scratch, format="png")


def _print(found: list, files: list[str]) -> None:
    from tabulate import tabulate

    from tood_d2.text import printable

    shown = found[:NUM_PRINTED]
    rows = [
        [x.kind, printable(x.file_name), x.annotation_id, x.category, x.pred_category, x.score]
        for x in shown
    ]
    headers = ["kind", "image", "annotation", "class", "detected", "score"]
    print(tabulate(rows, headers, floatfmt=".2f", showindex=range(1, len(rows) + 1)))
    counts = ", ".join(f"{n} {kind}" for kind, n in Counter(x.kind for x in found).items())
    print(f"{counts or 'nothing suspected'}: see {', '.join(files)}")
