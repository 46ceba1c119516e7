#!/usr/bin/env python
"""Plants errors in sound annotations and counts how many of them `dataset.py suspects` ranks first.

%(prog)s plant train.json errors            # writes errors/planted.json and errors/errors.json
%(prog)s score errors output/suspects/suspects.json
"""

import argparse
import json
import sys
from collections import Counter
from itertools import zip_longest
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_util
from tabulate import tabulate

from tood_d2.cli.messages import short_errors
from tood_d2.data.coco.annotation_arrays import annotation_arrays
from tood_d2.data.coco.reading import read_sound_coco

KINDS = ("overlooked", "badly placed", "wrong class")
MOVED_IOU = (0.3, 0.5)  # of a badly placed box with the right one
FOUND_IOU = 0.5  # of a prediction with an overlooked object


def plant(content: dict, share: float, seed: int) -> tuple[dict, list[dict]]:
    """Removes a third of the chosen boxes, moves a third, and swaps the class of the rest.

    Args:
        content: sound, see :func:`.read_sound_coco`.
        share: of the boxes, crowds left aside.
        seed: of the choice.

    Returns:
        Other content, and the errors: "kind", "file_name", "annotation_id", and the right "bbox"
        and "category".
    """
    rng = np.random.default_rng(seed)
    arrays = annotation_arrays(content)
    usable = np.flatnonzero(arrays.trainable())
    rows = rng.choice(usable, round(share * len(usable)), replace=False)
    annotations, categories = [*content["annotations"]], content["categories"]
    kinds = KINDS if len(categories) > 1 else KINDS[:2]
    errors, removed = [], set()
    for number, row in enumerate(rows):
        annotation, box, kind = annotations[row], arrays.boxes[row], kinds[number % len(kinds)]
        file_name = content["images"][arrays.image_rows[row]]["file_name"]
        category = categories[arrays.category_rows[row]]
        error = {"kind": kind, "file_name": file_name, "annotation_id": annotation["id"]}
        errors.append(error | {"bbox": box.tolist(), "category": category["name"]})
        if kind == "overlooked":
            removed.add(row)
        elif kind == "badly placed":
            box = _move(box, arrays.box_image_sizes()[row], rng)
            annotations[row] = annotation | {"bbox": box.tolist(), "area": float(box[2:].prod())}
        else:
            others = [x["id"] for x in categories if x["id"] != category["id"]]
            annotations[row] = annotation | {"category_id": others[rng.integers(len(others))]}
    kept = [x for row, x in enumerate(annotations) if row not in removed]
    return content | {"annotations": kept}, errors


def _move(box: np.ndarray, image_size: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shifts and scales a box (XYWH) within its image, until it fits the old one badly enough."""
    while True:
        center = box[:2] + box[2:] * (0.5 + rng.uniform(-0.6, 0.6, 2))
        sides = box[2:] * np.exp(rng.uniform(-0.5, 0.5, 2))
        start = np.clip(center - sides / 2, 0, image_size)
        end = np.clip(center + sides / 2, 0, image_size)
        moved = np.concatenate([start, end - start]).round(1)
        if MOVED_IOU[0] <= mask_util.iou(moved[None], box[None], [0]).item() <= MOVED_IOU[1]:
            return moved


def find(errors: list[dict], suspects: list[dict]) -> list[bool]:
    """Which errors a list of suspects has, whatever kind it takes them for."""
    suspected = {x["annotation_id"] for x in suspects}
    return [
        any(_shows(x, error) for x in suspects)
        if error["kind"] == "overlooked"
        else error["annotation_id"] in suspected
        for error in errors
    ]


def _shows(suspect: dict, error: dict) -> bool:
    """Whether a suspect is the object that was overlooked."""
    if suspect["bbox"] is not None or suspect["file_name"] != error["file_name"]:
        return False
    return mask_util.iou([suspect["pred_bbox"]], [error["bbox"]], [0]).item() >= FOUND_IOU


def run_plant(args: argparse.Namespace) -> None:
    content, errors = plant(read_sound_coco(args.json), args.share, args.seed)
    args.folder.mkdir(parents=True, exist_ok=True)
    for name, written in (("planted.json", content), ("errors.json", errors)):
        (args.folder / name).write_text(json.dumps(written))
    counts = ", ".join(f"{n} {kind}" for kind, n in Counter(x["kind"] for x in errors).items())
    print(f"{args.folder}: {counts}")


def run_score(args: argparse.Namespace) -> None:
    errors = json.loads((args.folder / "errors.json").read_text())
    num_boxes = len(read_sound_coco(args.folder / "planted.json")["annotations"])
    parts = [json.loads(path.read_text()) for path in args.suspects]
    suspects = [x for rank in zip_longest(*parts) for x in rank if x is not None]
    length = round(args.first * num_boxes)
    first, rows = suspects[:length], []
    found, ever = find(errors, first), find(errors, suspects)
    for kind in (*KINDS, "all"):
        chosen = [i for i, x in enumerate(errors) if kind in (x["kind"], "all")]
        counts = [len(chosen), sum(found[i] for i in chosen), sum(ever[i] for i in chosen)]
        rows.append([kind, *counts, f"{counts[1] / max(len(chosen), 1):.0%}"])
    print(f"{len(suspects)} suspects for {num_boxes} boxes, of which {len(first)} count")
    print(tabulate(rows, ["planted", "errors", "found", "found later, too", "share found"]))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("plant", help="write a file with errors, and a list of them")
    command.set_defaults(run=run_plant)
    command.add_argument("json", type=Path, help="annotations in COCO's form")
    command.add_argument("folder", type=Path, help="for planted.json and errors.json")
    command.add_argument("--share", type=float, default=0.05, help="of the boxes (0.05)")
    command.add_argument("--seed", type=int, default=0, help="of the choice (0)")

    command = commands.add_parser("score", help="count the errors among the first suspects")
    command.set_defaults(run=run_score)
    command.add_argument("folder", type=Path, help="with planted.json and errors.json")
    command.add_argument(
        "suspects", type=Path, nargs="+", help="suspects.json, one or of all parts"
    )
    command.add_argument(
        "--first", type=float, default=0.1, help="suspects that count, per box of the file (0.1)"
    )
    args = parser.parse_args()
    with short_errors(parser.prog):
        args.run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
