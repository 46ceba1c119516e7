"""Which image files a command line names, and how their pictures and results are called."""

import glob
import itertools
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence

from ..cli.outputs import short_name
from ..data.files import is_hidden, is_image_name, walk_files
from ..evaluation.coco_evaluator import image_id_of

logger = logging.getLogger(__name__)

PICTURE_EXTENSIONS = (".jpg", ".jpeg", ".png")  # that are kept; others become PNG files


def find_images(inputs: Sequence[str]) -> list[str]:
    """The files that arguments name: files, folders (the images in them) and globs.

    A file or folder with this very name comes before a glob. A file that is named twice counts
    once.

    Raises:
        FileNotFoundError: names an argument without any file.
        OSError: if a folder cannot be read.
    """
    paths, num_found = {}, 0
    for item in inputs:
        for path in _find(item):
            folder, name = os.path.split(path)
            paths.setdefault((os.path.realpath(folder), name), path)
            num_found += 1
    if num_found > len(paths):
        logger.warning(f"{num_found - len(paths)} images are named again: each is read once")
    return [*paths.values()]


def _find(item: str) -> list[str]:
    if os.path.isdir(item):
        with os.scandir(item) as entries:
            images = (x for x in entries if is_image_name(x.name) and not is_hidden(x.name))
            found = sorted(x.path for x in images if not x.is_dir())
        if not found:
            number = sum(map(is_image_name, walk_files(item)))
            hint = f", but {number} in folders below it: name these" if number else ""
            raise FileNotFoundError(f"{item}: no image in it{hint}")
        return found
    if os.path.exists(item):
        return [item]
    folder, name = os.path.split(item)
    pattern = os.path.join(glob.escape(folder), name) if os.path.isdir(folder) else item
    found = [x for x in glob.glob(pattern, recursive=True) if not os.path.isdir(x)]
    found.sort(key=lambda path: (path.count(os.sep), path))  # before links that lead back up
    if not found:
        raise FileNotFoundError(f"{item}: no such image")
    return [x for x in found if is_image_name(x)] or found


def output_paths(paths: Sequence[str], output: str) -> list[str]:
    """A file in the output folder for each image, under its own name, numbered if that is taken.

    No two names differ in small and capital letters only, which some file systems do not tell
    apart.
    """
    used, numbers, results = set(), Counter(), []
    for path in paths:
        stem, extension = os.path.splitext(os.path.basename(path))
        if extension.lower() not in PICTURE_EXTENSIONS:
            extension = ".png"
        key = f"{stem}{extension}".casefold()
        for number in itertools.count(numbers[key]):
            name = short_name(stem, f"_{number}{extension}" if number else extension)
            if name.casefold() not in used:
                break
        used.add(name.casefold())
        numbers[key] = number + 1
        results.append(os.path.join(output, name))
    return results


def result_names(paths: Sequence[str]) -> list[tuple[str, int | str]]:
    """``file_name`` and ``image_id`` of images in results, each of them different for all.

    The name is that of the file, or where two files have the same one, the path from the folder
    that all are in. The id is that of :func:`.image_id_of`, or where two are the same, the name.
    """
    names = [os.path.basename(path) for path in paths]
    if len({*names}) < len(names):
        root = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
        names = [os.path.relpath(path, root).replace(os.sep, "/") for path in paths]
    ids = [image_id_of(name) for name in names]
    if len({*ids}) < len(ids):
        (same, _), *_ = Counter(ids).most_common(1)
        examples = [name for name, id_ in zip(names, ids, strict=True) if id_ == same]
        logger.warning(
            f"{examples[0]} and {examples[1]} would have the same image_id, {same!r}: "
            "the ids of all results are file names"
        )
        ids = names
    return [*zip(names, ids, strict=True)]


def num_others(targets: Sequence[str], output: str) -> int:
    """Number of images in the output folder that are not among the pictures to write."""
    names = {os.path.basename(path) for path in targets}
    found: Iterator[os.DirEntry] = os.scandir(output) if os.path.isdir(output) else iter(())
    return sum(is_image_name(x.name) and x.name not in names for x in found)
