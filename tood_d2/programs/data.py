"""Brings data into COCO's form, splits, slices, checks and repairs it, and shows it.

%(prog)s convert voc VOCdevkit/VOC2007 annotations
%(prog)s split all.json annotations --fractions 0.8 0.2
%(prog)s slice annotations/train.json images tiles --size 640
%(prog)s check annotations/train.json images --against annotations/val.json
%(prog)s show annotations/train.json images --output dataset.png
%(prog)s suspects train.json images --config-file my.yaml --opts train.init_checkpoint=my.pth
"""

import argparse
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tabulate import tabulate

from tood_d2.cli.arguments import add_config_arguments
from tood_d2.cli.messages import short_errors
from tood_d2.cli.outputs import check_outputs, whole_file, write_json
from tood_d2.data.coco.annotation_arrays import annotation_arrays
from tood_d2.data.coco.balance import check_balance, check_classes
from tood_d2.data.coco.checking import Problem, Report, check_annotations, missing_lists
from tood_d2.data.coco.fixing import fix
from tood_d2.data.coco.image_checking import check_images
from tood_d2.data.coco.image_files import find_image_files
from tood_d2.data.coco.reading import check_image_headers, read_coco, read_sound_coco
from tood_d2.data.coco.similarity import check_similar
from tood_d2.data.coco.splitting import split_images
from tood_d2.data.coco.suitability import check_against, check_matching
from tood_d2.data.conversion import convert_voc, convert_yolo
from tood_d2.programs.suspects import suspects
from tood_d2.programs.tiles import slice_
from tood_d2.text import printable

COCO_AREAS = (32**2, 96**2)  # up to which objects are small and medium, in square pixels
MAX_SHOWN = 5  # problems of one kind


def convert(args: argparse.Namespace) -> None:
    """Writes one JSON file for each split."""
    if (args.zero_based or args.skip_difficult) and args.form != "voc":
        raise ValueError("--zero-based and --skip-difficult go with voc")
    if args.drop_scores and args.form != "yolo":
        raise ValueError("--drop-scores goes with yolo")
    if os.path.exists(args.out) and not os.path.isdir(args.out):
        raise NotADirectoryError(f"{args.out} is not a folder")
    if args.form == "voc":
        conversion = convert_voc(args.source, not args.zero_based, not args.skip_difficult)
    else:
        conversion = convert_yolo(args.source, args.drop_scores)
    _write_splits(conversion.splits, args, args.source)
    print(f"folder of the images: {conversion.image_root}")


def split(args: argparse.Namespace) -> None:
    """Writes one JSON file for each fraction."""
    names = args.names or ["train", "val", "test"][: len(args.fractions)]
    if len(names) != len(args.fractions) or len({*names}) != len(names):
        raise ValueError(f"--names should have {len(args.fractions)} names, one for each fraction")
    parts = split_images(read_sound_coco(args.json), args.fractions, args.seed)
    _write_splits(dict(zip(names, parts, strict=True)), args, args.json)


def _write_splits(splits: dict[str, dict], args: argparse.Namespace, source: str) -> None:
    """Writes a JSON file for each split and prints what is in them."""
    files = {name: Path(args.out, f"{name}.json") for name in splits}
    check_outputs(map(str, files.values()), [source])
    existing = [str(file) for file in files.values() if file.exists()]
    if existing and not args.overwrite:
        raise FileExistsError(f"{', '.join(existing)} exists already: use --overwrite or remove it")
    os.makedirs(args.out, exist_ok=True)
    rows = []
    for name, content in splits.items():
        write_json(content, str(files[name]))
        num_images, num_boxes = len(content["images"]), len(content["annotations"])
        num_with_boxes = len({x["image_id"] for x in content["annotations"]})
        rows.append([files[name], num_images, num_images - num_with_boxes, num_boxes])
    print(tabulate(rows, ["file", "images", "without boxes", "boxes"]))
    classes = [x["name"] for x in content["categories"]]
    print(printable(f"{len(classes)} classes: {', '.join(classes)}"))


def summarize(content: dict) -> str:
    """A table of the boxes by class and size."""
    items = Report(content, "").items
    arrays = annotation_arrays(items)
    with np.errstate(over="ignore"):
        areas = arrays.boxes[:, 2:].prod(axis=1)
    sizes = np.digitize(areas, COCO_AREAS)
    rows = []
    for row, category in enumerate(items["categories"]):
        chosen = arrays.category_rows == row
        by_size = np.bincount(sizes[chosen & (areas > 0)], minlength=3)
        rows.append([category["id"], printable(category["name"]), chosen.sum(), *by_size])
    if rows:
        rows.append(["", "all", *np.sum([row[2:] for row in rows], axis=0)])
    table = tabulate(rows, ["id", "class", "boxes", "small", "medium", "large"])
    return f"{len(items['images'])} images, {len(items['annotations'])} boxes\n\n{table}"


def format_problems(problems: list[Problem], verbose: bool) -> str:
    """Groups problems by kind, those that are fatal first."""
    kinds: dict[tuple[bool, str], list[Problem]] = {}
    for problem in problems:
        kinds.setdefault((not problem.fatal, problem.kind), []).append(problem)
    lines = []
    for (harmless, kind), group in sorted(kinds.items()):
        lines.append(f"{kind}: {len(group)}{'' if harmless else ', fatal'}")
        shown = group if verbose else group[:MAX_SHOWN]
        lines += ["  " + printable(f"{x.where}: {x.message}") for x in shown]
        if len(shown) < len(group):
            lines.append(f"  and {len(group) - len(shown)} more, --verbose shows them")
    return "\n".join(lines) or "no problems"


def check(args: argparse.Namespace) -> int:
    """Reports problems and, if wanted, writes a file without those that can be solved."""
    if args.short_edge < 1 or args.max_size < 1:
        raise ValueError("--short-edge and --max-size should be at least 1 pixel")
    if args.against_images and not args.against:
        raise ValueError("--against-images goes with --against")
    if args.fix and os.path.exists(args.fix):
        raise FileExistsError(f"{args.fix} exists already: choose another file for --fix")
    if args.fix and not os.path.isdir(os.path.dirname(args.fix) or "."):
        raise NotADirectoryError(f"{args.fix}: its folder does not exist")
    content = read_coco(args.json)
    other = read_coco(args.against) if args.against else None
    other_images = args.against_images or args.images
    for folder in (args.images, other_images):
        if not os.path.isdir(folder):
            raise NotADirectoryError(f"{folder}: no such folder")
    for file, loaded in ((args.json, content), (args.against, other)):
        if file and missing_lists(loaded):
            print(format_problems(check_annotations(loaded, file), args.verbose))
            return 1

    def check_content(content: dict, file: str) -> list[Problem]:
        problems = check_annotations(content, file)
        if other is not None:
            problems += check_against(content, other, file, args.against)
        return problems + check_matching(content, file, args.short_edge, args.max_size)

    remarks = check_balance(content, args.json)
    if other is not None:
        remarks += check_classes(content, other, args.json, args.against)
    image_problems, similar = [], []
    if not args.quick:
        image_problems = check_images(content, args.json, args.images)
        if other is not None:
            sides = args.json, args.against, args.images, other_images
            similar = check_similar(content, other, *sides)
    print(summarize(content), end="\n\n")
    problems = check_content(content, args.json)
    print(format_problems(problems + image_problems + similar, args.verbose))
    if remarks:
        print(f"\nremarks:\n{format_problems(remarks, args.verbose)}")
    if args.fix:
        fixed, changes = fix(content, image_problems, args.json, args.max_lost)
        write_json(fixed, args.fix)
        print(f"\n{args.fix}: {len(changes)} changes", *map(printable, changes), sep="\n  ")
        problems, image_problems = check_content(fixed, args.fix), []
        print(f"\nproblems left in {args.fix}:\n{format_problems(problems, args.verbose)}")
    return int(any(x.fatal for x in problems + image_problems))


def show(args: argparse.Namespace) -> None:
    """Draws some images with their boxes, and histograms of the boxes."""
    if args.num_images < 1:
        raise ValueError("--num-images should be at least 1")
    from tood_d2.data.coco.figures import draw_dataset  # matplotlib, as slow as all the rest

    content = read_sound_coco(args.json)
    images = content["images"]
    check_image_headers(images, args.json, args.images, damaged_ok=True)
    paths = find_image_files([x["file_name"] for x in images], args.images)
    check_outputs([args.output], [args.json, *paths])
    figure = draw_dataset(content, paths, args.num_images, args.seed)
    os.makedirs(os.path.dirname(args.output) or ".", exist_ok=True)
    with whole_file(args.output) as scratch:
        figure.savefig(scratch)
    print(args.output)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shared = {
        "json": "annotations in COCO's form",
        "images": "folder that file names are relative to",
        "out": "folder to write to",
    }

    def add_command(run: Callable, help: str, *arguments: str) -> Callable:
        command = commands.add_parser(run.__name__.rstrip("_"), help=help)
        command.set_defaults(run=run)
        for name in arguments:
            command.add_argument(name, metavar=name.upper(), help=shared[name])
        return command.add_argument

    add = add_command(convert, "write JSON files in COCO's form")
    add("form", choices=["voc", "yolo"], help="of the data")
    add("source", help="folder with images and labels, or YOLO's data.yaml or obj.data")
    add("out", metavar="OUT", help=shared["out"])
    add("--overwrite", action="store_true", help="existing JSON files")
    add("--zero-based", action="store_true", help="VOC: pixels from 0 on, without a box's last one")
    add("--skip-difficult", action="store_true", help="VOC: no objects that are marked difficult")
    add("--drop-scores", action="store_true", help="YOLO: labels may end with a score to leave out")

    add = add_command(split, "deal out the images of a JSON file at random", "json", "out")
    add("--overwrite", action="store_true", help="existing JSON files")
    add("--fractions", type=float, nargs="+", default=[0.8, 0.2], help="of the images (0.8 0.2)")
    add("--names", nargs="+", help="of the files (train val test)")
    add("--seed", type=int, default=0, help="of the choice (0)")

    arguments = ("json", "images", "out")
    add = add_command(slice_, "cut images into overlapping tiles (needs sahi)", *arguments)
    add("--size", type=int, default=640, help="pixels of a tile's sides (640)")
    add("--overlap", type=float, default=0.2, help="of neighbours, as a share of the size (0.2)")
    add(
        "--min-area-ratio",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="of a box that a tile needs to have (0.1)",
    )
    add(
        "--keep-empty",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of the tiles without boxes to keep (0); 1 for test data",
    )
    add("--seed", type=int, default=0, help="of the choice of these (0)")
    add("--format", choices=["png", "jpg"], default="png", help="of the tiles (png)")

    add = add_command(check, "find problems in a JSON file and its images", "json", "images")
    add("--against", metavar="JSON", help="test data to compare with")
    add("--against-images", metavar="FOLDER", help="of the test data, if it is another one")
    add("--short-edge", type=int, default=800, help="pixels of the input (800)")
    add("--max-size", type=int, default=1333, help="pixels of the input (1333)")
    add("--fix", metavar="OUT", help="file for a copy without the problems")
    add(
        "--max-lost",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="of images or boxes that --fix may drop (0.05)",
    )
    add("--verbose", action="store_true", help="show all problems of each kind")
    add("--quick", action="store_true", help="open no image")

    add = add_command(show, "draw images and statistics", "json", "images")
    add("--output", default="dataset.png", help="picture to write (dataset.png)")
    add("--num-images", type=int, default=12, help="images to draw (12)")
    add("--seed", type=int, default=0, help="of the choice of images (0)")

    add = add_command(suspects, "rank boxes that a trained model contradicts", "json", "images")
    add("--output", default="suspects", help="folder for the list and the picture (suspects)")
    add_config_arguments(commands.choices["suspects"], required=True)

    args = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    with short_errors(parser.prog):
        return args.run(args) or 0
