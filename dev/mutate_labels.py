#!/usr/bin/env python
"""Damages small data sets in VOC's and YOLO's form at random and converts them.

    python dev/mutate_labels.py --num 300

Each conversion should give the same boxes, or other ones with a warning, or be refused by the name
of a file. Names of classes may be any text. Anything else is a PROBLEM: a traceback, or boxes that
are lost or changed silently. The exit status is 1 if there is any.
"""

import argparse
import logging
import random
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from logging.handlers import BufferingHandler
from pathlib import Path

from PIL import Image

from tood_d2.data.conversion import convert_any, convert_voc, convert_yolo

SIZE = (120, 90)
BOXES = ((10, 20, 50, 40), (60, 10, 30, 45))  # x, y, width, height in pixels
NAMES = ("cat", "dog")
VALUES = (
    *("", " ", "null", "None", "abc", "-7", "nan", "inf", "-inf", "1e400", "1e30", "1_0", "0x10"),
    *("12,5", "99999", "-99999", "1.5.2", "\u0661", "true", "\ufeff5", "<", "&b;", "\0", "5 5"),
)
BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "' + "&a;" * 10 + '">]>'


def make_voc(root: Path) -> None:
    """Six images in two lists, with two objects each."""
    for i in range(6):
        objects = "".join(
            f"<object>\n<name>{name}</name>\n<difficult>0</difficult>\n<bndbox>\n"
            f"<xmin>{x + 1}</xmin>\n<ymin>{y + 1}</ymin>\n<xmax>{x + w}</xmax>\n"
            f"<ymax>{y + h}</ymax>\n</bndbox>\n</object>\n"
            for name, (x, y, w, h) in zip(NAMES, BOXES, strict=True)
        )
        size = f"<size>\n<width>{SIZE[0]}</width>\n<height>{SIZE[1]}</height>\n</size>\n"
        text = f"<annotation><filename>{i}.png</filename>\n{size}{objects}</annotation>\n"
        write(root / "Annotations" / f"{i}.xml", text)
        save_image(root / "JPEGImages" / f"{i}.png")
    write(root / "ImageSets" / "Main" / "train.txt", "0\n1\n2\n3\n")
    write(root / "ImageSets" / "Main" / "val.txt", "4\n5\n")


def make_yolo(root: Path) -> None:
    """Six images in two folders, with two objects each."""
    for i in range(6):
        split = "train" if i < 4 else "val"
        lines = [
            f"{k} {(x + w / 2) / SIZE[0]:.6f} {(y + h / 2) / SIZE[1]:.6f} {w / SIZE[0]:.6f} "
            f"{h / SIZE[1]:.6f}\n"
            for k, (x, y, w, h) in enumerate(BOXES)
        ]
        write(root / "labels" / split / f"{i}.txt", "".join(lines))
        save_image(root / "images" / split / f"{i}.png")
    names = ", ".join(NAMES)
    write(root / "data.yaml", f"train: images/train\nval: images/val\nnc: 2\nnames: [{names}]\n")


def make_flat_voc(root: Path) -> None:
    """The same in folders of splits, XML files beside the images."""
    make_voc(root)
    for i in range(6):
        folder = root / ("train" if i < 4 else "test")
        folder.mkdir(exist_ok=True)
        (root / "Annotations" / f"{i}.xml").rename(folder / f"{i}.xml")
        (root / "JPEGImages" / f"{i}.png").rename(folder / f"{i}.png")
    for name in ("Annotations", "JPEGImages", "ImageSets"):
        shutil.rmtree(root / name)


def make_darknet(root: Path) -> None:
    """The same with lists, labels beside the images."""
    make_yolo(root)
    for split, name in (("train", "train"), ("val", "valid")):
        labels = sorted((root / "labels" / split).iterdir())
        write(root / f"{name}.txt", "".join(f"images/{split}/{x.stem}.png\n" for x in labels))
        for label in labels:
            label.rename(root / "images" / split / label.name)
    shutil.rmtree(root / "labels")
    (root / "data.yaml").unlink()
    write(root / "obj.names", "\n".join(NAMES))
    write(
        root / "obj.data", "classes = 2\ntrain = train.txt\nvalid = valid.txt\nnames = obj.names\n"
    )


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def save_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE).save(path)


def any_file(root: Path, choose: random.Random, *suffixes: str) -> Path:
    files = sorted(x for x in root.rglob("*") if x.is_file())
    return choose.choice([x for x in files if not suffixes or x.suffix in suffixes])


TEXTS = (".xml", ".txt", ".yaml", ".data", ".names")


def delete_file(root: Path, choose: random.Random) -> str:
    path = any_file(root, choose)
    path.unlink()
    return f"delete {path.name}"


def rename_file(root: Path, choose: random.Random) -> str:
    path = any_file(root, choose)
    name = choose.choice([f"{path.stem}x{path.suffix}", f".{path.name}", path.stem, f"{path}.bak"])
    path.rename(path.with_name(Path(name).name))
    return f"rename {path.name} to {Path(name).name}"


def replace_file(root: Path, choose: random.Random) -> str:
    """Replaces a file by other bytes or by a folder."""
    path = any_file(root, choose)
    data = choose.choice([b"\0", b"\xff\xfe\xfa", b"abc", b"1", bytes(range(256)), None])
    if data is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(data)
    return f"make {path.name} {'a folder' if data is None else data[:9]}"


def truncate_file(root: Path, choose: random.Random) -> str:
    path = any_file(root, choose, ".xml", ".yaml", ".data")
    data = path.read_bytes()
    length = choose.randrange(len(data) - 1)
    path.write_bytes(data[:length])
    return f"cut {path.name} after {length} bytes"


def replace_value(root: Path, choose: random.Random) -> str:
    """Replaces a number of a label, or a name."""
    path = any_file(root, choose, *TEXTS)
    text, value = path.read_text(), choose.choice(VALUES)
    pattern = r"(?<=>)[^<>\n]+(?=<)|(?<![<\w/])[\w.]+(?![\w>])"
    found = choose.choice(list(re.finditer(pattern, text)))
    path.write_text(text[: found.start()] + value + text[found.end() :])
    return f"{found[0]} becomes {value!r} in {path.name}"


def delete_line(root: Path, choose: random.Random) -> str:
    path = any_file(root, choose, ".xml", ".yaml", ".data")
    lines = path.read_text().splitlines(keepends=True)
    line = lines.pop(choose.randrange(len(lines)))
    path.write_text("".join(lines))
    return f"delete {line.strip()[:40]} from {path.name}"


def repeat_line(root: Path, choose: random.Random) -> str:
    path = any_file(root, choose, *TEXTS)
    lines = path.read_text().splitlines(keepends=True)
    i = choose.randrange(len(lines))
    path.write_text("".join([*lines[:i], lines[i], *lines[i:]]))
    return f"repeat {lines[i].strip()[:40]} in {path.name}"


def change_columns(root: Path, choose: random.Random) -> str:
    """Swaps the class with a number, adds columns or leaves one out."""
    path = any_file(root, choose, ".txt", ".xml")
    lines = path.read_text().splitlines()
    i = choose.randrange(len(lines))
    words = lines[i].split()
    change = choose.choice(["swap", "add 1", "add 2", "add 3", "drop"])
    if change == "swap":
        j = choose.randrange(len(words))
        words[0], words[j] = words[j], words[0]
    elif change == "drop":
        words.pop(choose.randrange(len(words)))
    else:
        words += ["0.5"] * int(change[-1])
    path.write_text("\n".join([*lines[:i], " ".join(words), *lines[i + 1 :]]))
    return f"{change} in line {i + 1} of {path.name}"


def change_encoding(root: Path, choose: random.Random) -> str:
    path = any_file(root, choose, *TEXTS)
    encoding = choose.choice(["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "gbk"])
    path.write_text("\u5e72\u51c0" * (encoding == "gbk") + path.read_text(), encoding=encoding)
    return f"{path.name} in {encoding}"


def add_bomb(root: Path, choose: random.Random) -> str:
    path = any_file(root, choose, ".xml", ".yaml", ".data")
    header = BOMB if path.suffix == ".xml" else "a: &a [x, x]\nb: &b [*a, *a]\n"
    if path.suffix != ".xml":
        header += choose.choice(["c: [*b, *b]\n", "names: *b\n"])
    path.write_text(header + path.read_text())
    return f"entities in {path.name}"


def swap_corners(root: Path, choose: random.Random) -> str:
    path, axis = any_file(root, choose, ".xml", ".txt"), choose.choice("xy")
    text = path.read_text().replace(f"{axis}min", "_").replace(f"{axis}max", f"{axis}min")
    path.write_text(text.replace("_", f"{axis}max"))
    return f"swap {axis}min and {axis}max in {path.name}"


MUTATIONS = (
    *(delete_file, rename_file, replace_file, truncate_file, delete_line, repeat_line),
    *(change_columns, change_encoding, add_bomb, swap_corners),
    *(replace_value,) * 6,
)


def boxes(splits: dict[str, dict]) -> set[tuple]:
    """Split, image, class and box of every object."""
    found = set()
    for split, content in splits.items():
        files = {x["id"]: x["file_name"] for x in content["images"]}
        names = {x["id"]: x["name"] for x in content["categories"]}
        for x in content["annotations"]:
            found.add((split, files[x["image_id"]], names[x["category_id"]], *x["bbox"]))
    return found


def recognise(root: Path) -> dict[str, dict]:
    """Converts whatever a folder has."""
    return {split: content for split, (content, _) in convert_any(root).splits.items()}


def judge(
    convert: Callable[[Path], dict[str, dict]], root: Path, expected: set[tuple]
) -> tuple[str, str]:
    """Converts and says how it went, with details."""
    handler = BufferingHandler(1_000)
    handler.setLevel(logging.WARNING)
    logger = logging.getLogger("tood_d2")
    logger.addHandler(handler)
    try:
        found = boxes(convert(root))
    except (OSError, ValueError) as error:
        is_named = str(root) in str(error) and not isinstance(error, UnicodeError)
        return "refused by name" if is_named else "PROBLEM", f"{type(error).__name__}: {error}"
    except Exception as error:
        return "PROBLEM", f"{type(error).__name__}: {error}"
    finally:
        logger.removeHandler(handler)
    text = "; ".join(record.getMessage() for record in handler.buffer)
    if found == expected:
        return "same boxes", text
    if {(x[:2], x[3:]) for x in found} == {(x[:2], x[3:]) for x in expected}:
        return "other class as written", text
    details = f"{len(found & expected)} of {len(expected)} boxes, {len(found - expected)} new"
    return ("other boxes with a warning" if text else "PROBLEM"), f"{details}. {text}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num", type=int, default=300, help="mutations of each form (300)")
    parser.add_argument("--seed", type=int, default=0, help="of the first one (0)")
    parser.add_argument("--verbose", action="store_true", help="show all, not problems only")
    args = parser.parse_args()
    logging.getLogger("tood_d2").propagate = False
    failed = False
    scratch = Path(tempfile.mkdtemp())
    for form, make, convert in (
        ("voc", make_voc, lambda root: convert_voc(root).splits),
        ("yolo", make_yolo, lambda root: convert_yolo(root / "data.yaml").splits),
        ("voc side by side, recognised", make_flat_voc, recognise),
        ("darknet, recognised", make_darknet, recognise),
    ):
        counts = Counter()
        for seed in range(args.seed, args.seed + args.num):
            root = scratch / f"{seed}"
            make(root)
            expected = boxes(convert(root))
            mutation = (choose := random.Random(seed)).choice(MUTATIONS)(root, choose)
            verdict, details = judge(convert, root, expected)
            counts[verdict] += 1
            if args.verbose or verdict == "PROBLEM":
                print(f"{form} {seed}: {mutation}: {verdict}: {details}")
            shutil.rmtree(root)
        print(f"{form}: " + ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items())))
        failed |= counts["PROBLEM"] > 0
    scratch.rmdir()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
