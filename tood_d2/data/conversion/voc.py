"""Data sets in Pascal VOC's form, in the folders of its authors or beside the images."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..files import is_image_name, walk_files
from ..images import open_image
from .labelled_images import (
    TOLERANCE,
    Conversion,
    LabelledBox,
    LabelledImage,
    overhang,
    read_images,
    read_size,
    to_coco,
)
from .remarks import Remarks
from .splits import ImageIndex, in_folder, is_split_name, split_by_folders, split_name
from .text import parse_number, read_lines
from .voc_xml import read_voc_xml

_XML = re.compile(r"\s+\S+\.xml$", re.IGNORECASE)  # which some lists name behind the image
_CLASS_FILE_LINE = re.compile(r"\S+\s+(-1|0|1)")


def convert_voc(
    root: str | Path, one_based: bool = True, keep_difficult: bool = True
) -> Conversion:
    """Converts a folder of images and XML files.

    The XML file of an image has its name and is beside it or in another folder, such as
    ``Annotations`` for the images of ``JPEGImages``, in sub-folders, too. Each file of
    ``ImageSets/Main`` that lists images is a split, not those that tell for one class which images
    have it. Without any, folders such as ``train`` and ``valid`` are splits, or all images are the
    split "all". An image without XML file has no objects. Classes are sorted by name. What is left
    out or contradicts itself is logged.

    Args:
        one_based: whether boxes are VOC's pixel indices, which count from 1 and include the last
            pixel. Many exports count from 0 and exclude the last one.
        keep_difficult: whether to keep objects marked as difficult.

    Raises:
        FileNotFoundError: if the folder or an image that is listed is missing.
        ValueError: if there is no box or a file is malformed.
    """
    root, remarks = Path(root), Remarks()
    files = walk_files(root)
    images = [path for path in files if is_image_name(path)]
    xml_files = [path for path in files if path.suffix.lower() == ".xml"]
    if not images or not xml_files:
        raise ValueError(
            f"{root} has {len(images)} images and {len(xml_files)} XML files: VOC's form has both, "
            "in Annotations and JPEGImages, or side by side"
        )
    images = in_folder(images, root, "JPEGImages", remarks)
    xml_files = in_folder(xml_files, root, "Annotations", remarks)
    pairs = _pair(xml_files, images, root, remarks)
    doubles = _doubles(images, pairs, root)
    remarks.add("images that are a labelled one's in another file, left out", *sorted(doubles))
    images = [path for path in images if path not in doubles]
    splits = _listed_splits(files, images, root, remarks)
    if not splits:
        names = {x: split_name(x, root) or split_name(pairs.get(x, x), root) for x in images}
        splits = split_by_folders(names, remarks)
    chosen = dict.fromkeys(path for paths in splits.values() for path in paths)
    unlabelled = [path for path in chosen if path not in pairs]
    remarks.add("images without XML file, taken for images without objects", *unlabelled)

    def read(path: Path) -> LabelledImage:
        if path not in pairs:
            return LabelledImage(path, read_size(path), [])
        return _read(path, pairs[path], one_based, keep_difficult, remarks)

    images_read = read_images(splits, read, remarks)
    remarks.log()
    files = [pairs[path] for path in chosen if path in pairs]
    such = f", such as {files[0]}" if files else ""
    looked_for = f"<object> in {len(files)} XML files of theirs in {root}{such}"
    return to_coco(splits, images_read, looked_for)


def _pair(
    xml_files: list[Path], images: list[Path], root: Path, remarks: Remarks
) -> dict[Path, Path]:
    """The XML file of each image that has one."""
    by_stem: dict[str, list[Path]] = {}
    for image in images:
        by_stem.setdefault(image.stem, []).append(image)
    folders = {path.parent for path in images}, {path.parent for path in xml_files}
    pairs, alone = {}, []
    for xml_file in xml_files:
        candidates = by_stem.get(xml_file.stem, [])
        found = [x for x in candidates if x.parent == xml_file.parent]
        if not found and xml_file.parent not in folders[0]:
            apart = [x for x in candidates if x.parent not in folders[1]]
            if len(apart) > 1:
                file_name = read_voc_xml(xml_file).file_name
                apart = [x for x in apart if x.name == file_name] or apart
            found = _nearest(xml_file.parent.relative_to(root).parts, apart, root)
        if not found:
            alone.append(xml_file)
            continue
        if len(found) > 1:
            file_name = read_voc_xml(xml_file).file_name
            found = [x for x in found if x.name == file_name]
        if len(found) != 1:
            raise ValueError(f"{xml_file} has several images of its name, <filename> names none")
        if found[0] in pairs:
            raise ValueError(f"{found[0]} has two XML files, {pairs[found[0]]} and {xml_file}")
        pairs[found[0]] = xml_file
    remarks.add("XML files without image of their name, left out", *alone)
    return pairs


def _doubles(images: list[Path], pairs: dict[Path, Path], root: Path) -> set[Path]:
    """Images without labels that may be masks or copies of labelled ones of the same split."""
    labelled: dict[tuple, set[str]] = {}
    for path in pairs:
        labelled.setdefault((path.stem, split_name(path, root)), set()).add(path.suffix)
    alone = (path for path in images if path not in pairs)
    return {x for x in alone if labelled.get((x.stem, split_name(x, root)), set()) - {x.suffix}}


def _nearest(parts: Sequence[str], images: list[Path], root: Path) -> list[Path]:
    """Images whose folder has the most in common with the one of such parts, and enough."""
    distances: dict[Path, int] = {}
    for image in images:
        other = image.parent.relative_to(root).parts
        own, others = Counter(parts) - Counter(other), Counter(other) - Counter(parts)
        of_other_split = any(map(is_split_name, own)) and any(map(is_split_name, others))
        if min(own.total(), others.total()) <= 1 and not of_other_split:
            distances[image] = own.total() + others.total()
    least = min(distances.values(), default=0)
    return [image for image, distance in distances.items() if distance == least]


def _listed_splits(
    files: list[Path], images: list[Path], root: Path, remarks: Remarks
) -> dict[str, list[Path]]:
    """Images of each split that a file lists; nothing if there are no such files."""
    lists = [path for path in files if path.suffix.lower() == ".txt" and _is_list(path, root)]
    splits: dict[str, dict[Path, None]] = {}
    for path in lists:
        lines = read_lines(path)
        if not lines:
            remarks.add("lists without images, left out", path)
            continue
        base = _base(path, root)
        index = ImageIndex((x for x in images if x.is_relative_to(base)), base)
        are_flags = all(map(_CLASS_FILE_LINE.fullmatch, lines.values()))
        if index.has_all(lines.values()) or not are_flags:
            found = (index.find(_XML.sub("", line), where) for where, line in lines.items())
            splits.setdefault(path.stem, {}).update(dict.fromkeys(found))
    listed = {image for split in splits.values() for image in split}
    if splits:
        remarks.add("images in no list, left out", *(x for x in images if x not in listed))
    return {name: [*split] for name, split in splits.items()}


def _is_list(path: Path, root: Path) -> bool:
    folders = path.relative_to(root).parts[:-1]
    if "ImageSets" in folders:
        return folders[-1] in ("ImageSets", "Main")
    return not folders and is_split_name(path.stem)


def _base(path: Path, root: Path) -> Path:
    """The folder that has ImageSets, of which a project can have several, or the root."""
    parts = path.relative_to(root).parts
    return root.joinpath(*parts[: parts.index("ImageSets")]) if "ImageSets" in parts else root


def _read(
    path: Path, xml_file: Path, one_based: bool, keep_difficult: bool, remarks: Remarks
) -> LabelledImage:
    annotation = read_voc_xml(xml_file)
    objects = []
    for class_name, (xmin, ymin, xmax, ymax), difficult, where in annotation.objects:
        if not keep_difficult and _is_difficult(difficult, where):
            remarks.add("difficult objects, left out", where)
            continue
        if xmin > xmax or ymin > ymax:
            remarks.add("boxes whose corners are in another order, put in order", where)
        (left, right), (top, bottom) = sorted((xmin, xmax)), sorted((ymin, ymax))
        if one_based:
            if left == 0 or top == 0:
                remarks.add(
                    "boxes that begin at pixel 0, though VOC's first is 1 (see --zero-based of "
                    "dataset.py convert voc)",
                    where,
                )
            left, top = left - 1, top - 1
        objects.append(LabelledBox(class_name, [left, top, right - left, bottom - top], where))
    image = LabelledImage(path, read_size(path), objects)
    if annotation.size not in (None, image.size):
        _check_boxes(image, annotation.size, xml_file, remarks)
    return image


def _is_difficult(text: str, where: str) -> bool:
    try:
        return parse_number(text or "0") != 0
    except ValueError as error:
        raise ValueError(f"{where}: <difficult> {error}") from error


def _check_boxes(
    image: LabelledImage, other_size: tuple[float, float], xml_file: Path, remarks: Remarks
) -> None:
    """Notes that an image has another size than its XML file says.

    Raises:
        ValueError: if boxes reach out of the image, so that they must be those of another one.
    """
    width, height = image.size
    where = f"{xml_file} says {other_size[0]:g} x {other_size[1]:g}, {image.path.name} has "
    where += f"{width} x {height} pixels"
    if other_size == (height, width):
        with open_image(image.path) as opened:
            is_turned = opened.size == other_size
        where += " once turned as its EXIF data say" if is_turned else ": swapped sides"
    for item in image.objects:
        if min(other_size) > 0 and overhang(item.box, image.size) > TOLERANCE:
            raise ValueError(f"{where}, and the box of {item.where} reaches out of them")
    remarks.add("sizes that contradict the image, see if its boxes fit", where)
