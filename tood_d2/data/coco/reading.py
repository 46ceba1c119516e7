"""Reading of JSON files in COCO's form, each once in a process."""

import functools
import json
import logging
import os
from collections import Counter

from .checking import check_annotations

MAX_NAMED = 5  # problems
_HINT = "tools/dataset.py check shows all of them and --fix solves many"

logger = logging.getLogger(__name__)


def read_coco(path: str | os.PathLike) -> dict:
    """Reads a JSON file in UTF-8, UTF-16 or UTF-32.

    The last two files, as a rule of training and test data, are remembered until they change on
    disk. What reads them later gets the same content, which nobody may change therefore.

    Raises:
        FileNotFoundError: if there is no such file. A named pipe, say, is none either.
        ValueError: if it is not JSON.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such annotation file")
    status = os.stat(path)
    try:
        return _parse(os.path.abspath(path), status.st_mtime_ns, status.st_size)
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


@functools.lru_cache(maxsize=2)
def _parse(path: str, mtime_ns: int, num_bytes: int) -> dict:
    with open(path, "rb") as file:
        return json.loads(file.read())  # bytes, so that it finds the encoding


def read_sound_coco(json_file: str, image_root: str | None = None) -> dict:
    """Reads a JSON file that can be trained on, with :func:`read_coco`; logs lesser problems.

    Whether there is a box to train on is left to :func:`.get_training_dicts`.

    Args:
        json_file: to read.
        image_root: folder that should have the images; by default nobody looks for them.

    Raises:
        FileNotFoundError: if the file, the folder or an image is missing.
        ValueError: if the file is not in COCO's form or has problems that would spoil training.
    """
    content = read_coco(json_file)
    if image_root is not None and not os.path.isdir(image_root):
        raise FileNotFoundError(
            f"{image_root}: no such folder, it should hold {json_file}'s images"
        )
    problems = check_annotations(content, json_file, training=False)
    if fatal := [f"{x.where}: {x.message}" for x in problems if x.fatal]:
        rest = f"; and {len(fatal) - MAX_NAMED} more" if len(fatal) > MAX_NAMED else ""
        raise ValueError("; ".join(fatal[:MAX_NAMED]) + rest + f" ({_HINT})")
    if kinds := Counter(x.kind for x in problems):
        counts = ", ".join(f"{kind} ({number})" for kind, number in kinds.items())
        logger.warning(f"{json_file} has problems: {counts}; {_HINT}")
    for image in content["images"] if image_root is not None else ():
        path = os.path.join(image_root, image["file_name"])
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{path}: no such image, though {json_file} lists it")
    return content
