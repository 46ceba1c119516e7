"""Reading of JSON files in COCO's form."""

import json
import logging
import os

from .checking import Problem, check_annotations
from .image_checking import check_images
from .image_files import describe_missing

MAX_NAMED = 5  # problems
_HINT = "tools/dataset.py check shows all of them and --fix solves many"

# Of no effect in this project.
_HARMLESS = {
    *("evaluation-id", "duplicate-annotation-id", "no-area", "no-iscrowd", "ignore"),
    *("exif-turned", "many-bits"),
}

logger = logging.getLogger(__name__)


def read_coco(path: str | os.PathLike) -> dict:
    """Reads a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises:
        FileNotFoundError: if there is no such file. A named pipe, say, is none either.
        ValueError: if it is not JSON.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such annotation file")
    try:
        with open(path, "rb") as file:
            encoding = json.detect_encoding(file.read(4))
        with open(path, encoding=encoding) as file:
            return json.load(file)
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def read_sound_coco(json_file: str | os.PathLike) -> dict:
    """Reads a JSON file that can be trained on or tested with; logs lesser problems.

    A file may lack the list of annotations, as that of COCO's test-dev does; then it is empty here
    and "is_annotated" is False. Whether there is a box to train on is left to
    :func:`.get_training_dicts`.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if the file is not in COCO's form or has problems that would spoil training.
    """
    content = read_coco(json_file)
    if isinstance(content, dict) and content.get("annotations") is None:
        content = content | {"annotations": [], "is_annotated": False}
    _refuse(check_annotations(content, str(json_file), training=False))
    return content


def check_image_headers(
    images: list[dict], json_file: str, image_root: str, damaged_ok: bool
) -> None:
    """Looks at all images of sound content without decoding them; logs lesser problems.

    Args:
        images: of the content.
        json_file: its name.
        image_root: folder of the images.
        damaged_ok: whether files that are no images are among the lesser problems.

    Raises:
        FileNotFoundError: if the folder or an image is missing.
        ValueError: if the size of an image is another one, or it cannot be read.
    """
    if not os.path.isdir(image_root):
        raise FileNotFoundError(
            f"{image_root}: no such folder, it should hold {json_file}'s images"
        )
    content = {"images": images, "annotations": [], "categories": []}
    problems = check_images(content, json_file, image_root, decode=False)
    if missing := [x for x in problems if x.kind == "missing-image"]:
        name = images[missing[0].item[1]]["file_name"]
        more = f", nor {len(missing) - 1} more" if len(missing) > 1 else ""
        raise FileNotFoundError(
            f"{os.path.join(image_root, name)}: no such image, though {json_file} lists it{more}; "
            + describe_missing(name, image_root)
        )
    if damaged_ok:
        problems = [x._replace(fatal=x.fatal and x.kind != "unreadable-image") for x in problems]
    _refuse(problems)


def _refuse(problems: list[Problem]) -> None:
    """Raises an error if a problem is fatal, else says which there are."""
    if fatal := [f"{x.where}: {x.message}" for x in problems if x.fatal]:
        rest = f"; and {len(fatal) - MAX_NAMED} more" if len(fatal) > MAX_NAMED else ""
        raise ValueError("; ".join(fatal[:MAX_NAMED]) + rest + f" ({_HINT})")
    groups: dict[str, list[Problem]] = {}
    for problem in problems:
        if problem.kind not in _HARMLESS:
            groups.setdefault(problem.kind, []).append(problem)
    if groups:
        texts = (f"{kind} ({len(x)}), {x[0].where}: {x[0].message}" for kind, x in groups.items())
        logger.warning(f"Problems of the data: {'; '.join(texts)} ({_HINT})")
