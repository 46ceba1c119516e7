#!/usr/bin/env python
"""Damages a small data set in COCO's form at random, checks it, loads it and evaluates with it.

    python dev/mutate_coco.py --num 300

The boxes to train on and AP should stay the same, or ``check`` should name what is wrong, or the
data should be refused by the file's name. Anything else is a PROBLEM: another error, or a change
that nothing tells of. The exit status is 1 if there is any.
"""

import argparse
import contextlib
import copy
import io
import json
import logging
import math
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from tood_d2.data import get_training_dicts, register_coco_json
from tood_d2.data.coco.checking import check_annotations, missing_lists
from tood_d2.data.coco.fixing import TooMuchLost, fix
from tood_d2.data.coco.image_checking import check_images
from tood_d2.data.coco.reading import read_coco
from tood_d2.evaluation import IllustratedCOCOEvaluator

SIZE = (120, 90)
BOXES = ((10, 20, 50, 40), (60, 10, 30, 45))  # x, y, width, height in pixels
VALUES = (
    *(None, True, False, 0, 1, 2, -1, 7, 1.5, -0.5, 1e10, 1e308, 2**31, 2**53, 2**63, 10**400),
    *(
        math.nan,
        math.inf,
        -math.inf,
        "",
        " ",
        "0",
        "1",
        "-7",
        "abc",
        "1e5",
        "nan",
        "é\u4f60",
        "$x$",
    ),
    *("../../x.png", "C:\\x\\0.png", "https://host/0.png?x", "a" * 300, "\0", "\ud800", "true"),
    *([], [1], [1, 2, 3], [[1, 2]], [[1, 2, 3]], [None], {}, {"counts": 1, "size": [1, 2]}),
    *({"counts": "x", "size": [90, 120]}, {"x": {"y": []}}, [0, 0, 0, 0], [1, 2, 3, 4]),
)
EXTRA = (
    "ignore",
    "segmentation",
    "keypoints",
    "num_keypoints",
    "score",
    "attributes",
    "id",
    "area",
)
TOP = ("info", "licenses", "type", "images", "annotations", "categories")
NEEDED = ("bbox", "image_id", "category_id", "iscrowd")  # other values of them are other data
UNNEEDED = (*EXTRA, "license", "supercategory", "info", "licenses", "type")


def make(folder: Path) -> dict:
    """Six images with two objects each, of two classes."""
    annotations = [
        {
            "id": 2 * i + k + 1,
            "image_id": i + 1,
            "category_id": k + 1,
            "bbox": list(box),
            "area": box[2] * box[3],
            "iscrowd": 0,
            "segmentation": [],
        }
        for i in range(6)
        for k, box in enumerate(BOXES)
    ]
    images = []
    for i in range(6):
        Image.new("RGB", SIZE, (40 * i, 0, 0)).save(folder / f"{i}.png")
        size = {"width": SIZE[0], "height": SIZE[1]}
        images.append({"id": i + 1, "file_name": f"{i}.png", **size, "license": 1})
    categories = [{"id": 1, "name": "cat", "supercategory": "x"}, {"id": 2, "name": "dog"}]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def write(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content))


def mutate(content: dict, rng: random.Random) -> tuple[dict, str]:
    """Changes a field of one item, of every second one or of all; says which."""
    content = copy.deepcopy(content)
    if rng.random() < 0.1:
        key, value = rng.choice(TOP), rng.choice(VALUES)
        content[key] = value
        return content, f"{key} = {value!r}"
    key = rng.choice(["images", "annotations", "annotations", "annotations", "categories"])
    items = content[key]
    step = rng.choice([0, 1, 2])
    rows = range(0, len(items), step) if step else [rng.randrange(len(items))]
    kind = rng.choice(["set", "set", "set", "delete", "entry", "drop", "repeat"])
    if kind in ("drop", "repeat"):
        row = rows[0]
        items[row : row + 1] = [] if kind == "drop" else [items[row], copy.deepcopy(items[row])]
        return content, f"{key}[{row}] {kind}"
    field = rng.choice([*items[0], *(EXTRA if key == "annotations" else ())])
    value = rng.choice(VALUES)
    for row in rows:
        if kind == "set":
            items[row][field] = value
        elif kind == "delete":
            items[row].pop(field, None)
        else:  # one number of the box, or all of the item
            if key == "annotations":
                items[row]["bbox"][rng.randrange(4)] = value
                field = "bbox"
            else:
                items[row], field = value, "all"
    return content, f"{key}[{list(rows)}] {kind} {field} {value!r}"


def detections(content: dict) -> dict:
    """By image id, three quarters of the objects and some that are none."""
    found = {}
    for image in content["images"]:
        boxes = [(x, y, x + w, y + h) for x, y, w, h in BOXES] + [(0, 60, 20, 80)]
        scores, classes = [0.9, 0.8, 0.7], [0, 1, image["id"] % 2]
        if image["id"] == 3:
            boxes, scores, classes = boxes[1:], scores[1:], classes[1:]
        instances = Instances(SIZE[::-1], scores=torch.tensor(scores))
        instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32))
        instances.pred_classes = torch.tensor(classes)
        found[image["file_name"]] = instances
    return found


def use(json_file: Path, folder: Path, found: dict) -> tuple[float, int]:
    """AP of detections, and the number of boxes to train on.

    Raises:
        OSError, ValueError: if the data are refused.
    """
    name = str(json_file)
    try:
        register_coco_json(name, str(folder))
        num_boxes = sum(len(x["annotations"]) for x in get_training_dicts(name))
        evaluator = IllustratedCOCOEvaluator(name, ["bbox"], output_dir=None)
        evaluator.reset()
        for record in DatasetCatalog.get(name):
            output = {"instances": found[Path(record["file_name"]).name]}
            evaluator.process([record], [output])
        results = evaluator.evaluate() or {"bbox": {"AP": math.nan}}
        return results["bbox"]["AP"], num_boxes
    finally:
        if name in DatasetCatalog:
            DatasetCatalog.pop(name)
            MetadataCatalog.pop(name)


def check(json_file: Path, folder: Path) -> list:
    """The problems that ``tools/dataset.py check`` finds."""
    content = read_coco(json_file)
    problems = check_annotations(content, str(json_file))
    if not missing_lists(content):
        image_problems = check_images(content, str(json_file), folder)
        with contextlib.suppress(TooMuchLost):
            json.dumps(fix(content, image_problems, str(json_file))[0])
        problems += image_problems
    return problems


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without logging."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def judge(original: dict, content: dict, what: str, folder: Path, good: tuple) -> str:
    """The verdict on a mutation."""
    json_file = folder / "mutated.json"
    write(json_file, content)
    is_unneeded = any(f" {field} " in f" {what} " for field in UNNEEDED) and not (
        what.startswith(("images", "categories")) and " id " in what
    )
    refused = "PROBLEM: refused" if is_unneeded else "refused"
    try:
        problems = check(json_file, folder)
    except (OSError, ValueError) as error:
        return refused if str(json_file) in str(error) else f"PROBLEM in check: {error}"
    except Exception:
        return f"PROBLEM in check: {traceback.format_exc(limit=-2)}"
    try:
        result = use(json_file, folder, detections(original))
    except (OSError, ValueError) as error:
        is_named = str(folder) in str(error)
        return refused if is_named and problems else f"PROBLEM: {error}, check: {problems}"
    except Exception:
        return f"PROBLEM: {traceback.format_exc(limit=-2)}"
    if result[1] == good[1] and math.isclose(result[0], good[0]):
        return "same"
    if problems:
        return "named by check"
    if any(f" {field} " in what for field in NEEDED) or "drop" in what:
        return "other data"
    return f"PROBLEM: {result} instead of {good}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num", type=int, default=300, help="mutations")
    parser.add_argument("--seed", type=int, default=0, help="of the first")
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name, quiet():
        folder = Path(name)
        original = make(folder)
        write(folder / "good.json", original)
        good = use(folder / "good.json", folder, detections(original))
        print(f"AP {good[0]:.2f}, {good[1]} boxes")
        for seed in range(args.seed, args.seed + args.num):
            content, what = mutate(original, random.Random(seed))
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                verdict = judge(original, content, what, folder, good)
            counts[verdict.split(" in check")[0].split(":")[0]] += 1
            if verdict.startswith("PROBLEM"):
                print(f"seed {seed}: {what[:200]}: {verdict[:600]}")
    print(*(f"{verdict}: {number}" for verdict, number in sorted(counts.items())), sep=", ")
    return int(counts["PROBLEM"] > 0)


if __name__ == "__main__":
    sys.exit(main())
