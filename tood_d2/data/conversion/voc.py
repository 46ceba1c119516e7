"""Data sets in Pascal VOC's form."""

import contextlib
import math
import re
from pathlib import Path
from xml.etree import ElementTree

from .labelled_images import (
    IMAGE_SUFFIXES,
    Conversion,
    LabelledImage,
    convert_images,
    find_images,
    read_lines,
    read_size,
)

_CLASS_FILE_LINE = re.compile(r"\S+\s+(-1|0|1)")


def convert_voc(
    root: str | Path, one_based: bool = True, keep_difficult: bool = True
) -> Conversion:
    """Converts a folder with ``Annotations``, ``JPEGImages`` and, maybe, ``ImageSets/Main``.

    Each file of ``ImageSets/Main`` that lists images is a split, not those that tell for one class
    which images have it. Without any, all images are the split "all". An image without XML file
    has no objects. Classes are sorted by name.

    Args:
        one_based: whether boxes are VOC's pixel indices, which count from 1 and include the last
            pixel. Many exports count from 0 and exclude the last one.
        keep_difficult: whether to keep objects marked as difficult.

    Raises:
        FileNotFoundError: if a folder or an image is missing.
        ValueError: if there is no image or a file is malformed.
    """
    root = Path(root)
    for folder in (root / "Annotations", root / "JPEGImages"):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder, is {root} in Pascal VOC's form?")
    images: dict[str, list[Path]] = {}
    for path in find_images(root / "JPEGImages"):
        images.setdefault(path.stem, []).append(path)
    splits = _voc_splits(root / "ImageSets" / "Main")
    if not splits:
        stems = {*images, *(path.stem for path in (root / "Annotations").glob("*.xml"))}
        splits = {"all": dict.fromkeys(sorted(stems), str(root))}
    where = {stem: place for places in splits.values() for stem, place in places.items()}
    if not where:
        raise ValueError(f"{root} has no images")

    def read(stem: str) -> LabelledImage:
        xml_file = root / "Annotations" / f"{stem}.xml"
        candidates = images.get(stem, [])
        if xml_file.is_file():
            return _read_xml(xml_file, candidates, one_based, keep_difficult)
        path = _choose_image(candidates, "", f"{where[stem]}: {stem!r}")
        return LabelledImage(path, read_size(path), [])

    return convert_images(splits, read, root / "JPEGImages")


def _voc_splits(folder: Path) -> dict[str, dict[str, str]]:
    """Names of the images in each split, with the place that lists them."""
    splits = {}
    for path in sorted(folder.glob("*.txt")):
        lines = read_lines(path)
        if not all(_CLASS_FILE_LINE.fullmatch(line) for line in lines.values()):
            splits[path.stem] = {_stem(line): place for place, line in lines.items()}
    return splits


def _stem(line: str) -> str:
    name = Path(line)  # some tools write file names
    return name.stem if name.suffix.lower() in IMAGE_SUFFIXES else line


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses document types, as only they can define entities, which can grow without limit."""

    def doctype(self, *args) -> None:
        raise ValueError("it has a DOCTYPE, which annotations have no use for: remove it")


def _read_xml(
    xml_file: Path, candidates: list[Path], one_based: bool, keep_difficult: bool
) -> LabelledImage:
    try:
        tree = ElementTree.parse(xml_file, ElementTree.XMLParser(target=_NoDoctype())).getroot()
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"{xml_file} cannot be read as XML: {error}") from error
    path = _choose_image(candidates, tree.findtext("filename", "").strip(), str(xml_file))
    size = [int(_voc_number(tree, f"size/{side}", xml_file, "0")) for side in ("width", "height")]
    objects = []
    for number, item in enumerate(tree.findall("object"), start=1):
        where = f"{xml_file}, object {number}"
        class_name = item.findtext("name", "").strip()
        if not class_name:
            raise ValueError(f"{where} has no <name>")
        if keep_difficult or not _voc_number(item, "difficult", where, "0"):
            tags = ("xmin", "ymin", "xmax", "ymax")
            xmin, ymin, xmax, ymax = (_voc_number(item, f"bndbox/{tag}", where) for tag in tags)
            if one_based:
                xmin, ymin = xmin - 1, ymin - 1
            objects.append((class_name, [xmin, ymin, xmax - xmin, ymax - ymin]))
    return LabelledImage(path, tuple(size) if min(size) > 0 else read_size(path), objects)


def _choose_image(candidates: list[Path], name: str, where: str) -> Path:
    """Of several images that differ in their suffix or folder, chooses the one with the name."""
    named = [path for path in candidates if path.name == name]
    if len(named or candidates) != 1:
        problem = "several images" if candidates else "no image"
        raise FileNotFoundError(f"{where} has {problem} of its name in JPEGImages")
    return (named or candidates)[0]


def _voc_number(item: ElementTree.Element, tag: str, where: str | Path, default: str = "") -> float:
    text = item.findtext(tag, "").strip() or default
    with contextlib.suppress(ValueError):
        if math.isfinite(number := float(text)):
            return number
    raise ValueError(f"{where}: <{tag}> should be a number, is {text!r}")
