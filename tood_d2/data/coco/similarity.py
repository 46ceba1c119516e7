"""Pictures that are in both training and test data, found by their content.

Perceptual hashes find them, which hardly change when a picture is resized or compressed again.
"""

import functools
import hashlib
import logging
import os
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from ...cli.requirements import MissingRequirement
from ..images import open_image, read_image
from .checking import Problem, Report
from .image_files import find_image_files

HASH_SIDE = 16  # of the 256 bits of a hash
# Of copies that were compressed again, or resized to between a quarter and twice the size, 26 bits
# at most change. Circuit boards, whose pattern repeats, have different defects at 36 bits.
MAX_DISTANCE = 26
_DECODED_SIDE = 128  # pixels of a JPEG at least; more of them would only take longer
_BLOCK = 1024  # pictures that are compared with all others at a time
_PROBLEMS = {
    "identical": ("identical-image", "is the same picture as"),
    "near-identical": ("similar-image", "looks like"),
}

logger = logging.getLogger(__name__)


def find_similar(paths_a: Sequence[str], paths_b: Sequence[str]) -> list[tuple[str, str, str]]:
    """Finds the pictures of one list that are in the other, seconds for 10,000 and 2,000.

    Turned, mirrored and cropped copies are other pictures, and so are two of a single colour,
    unless they are identical. Files that cannot be read are logged and left out.

    Returns:
        Two paths, and "identical" if all pixels are the same, else "near-identical".

    Raises:
        MissingRequirement: if ImageHash is not installed.
    """
    try:
        from imagehash import phash
    except ImportError as error:
        raise MissingRequirement(
            f"images are compared by ImageHash, which is missing ({error}): pip install ImageHash"
        ) from error
    hashed = _hash_all([*paths_a, *paths_b], phash)
    paths_a, paths_b = ([x for x in paths if x in hashed] for paths in (paths_a, paths_b))
    if not paths_a or not paths_b:
        return []
    # The product of two hashes is the number of equal bits, less that of others.
    hashes_a, hashes_b = (np.stack([hashed[x][0] for x in paths]) for paths in (paths_a, paths_b))
    least = HASH_SIDE**2 - 2 * MAX_DISTANCE
    content = functools.cache(_content)
    pairs = []
    for start in range(0, len(paths_a), _BLOCK):
        products = hashes_a[start : start + _BLOCK] @ hashes_b.T
        for row, column in np.argwhere(products >= least):
            a, b = paths_a[start + row], paths_b[column]
            if content(a) == content(b):
                pairs.append((a, b, "identical"))
            elif not hashed[a][1] and not hashed[b][1]:
                pairs.append((a, b, "near-identical"))
    return pairs


def _hash_all(paths: Sequence[str], phash: Callable) -> dict[str, tuple[np.ndarray, bool]]:
    """The hash of each picture, (256,) float32 of -1 and 1, and whether it has one colour only."""
    hashed, errors = {}, []
    for path in tqdm(dict.fromkeys(paths), unit="img", desc="comparing", disable=None):
        try:
            picture = _thumbnail(path)
        except (OSError, ValueError) as error:
            errors.append(str(error))
            continue
        darkest, brightest = picture.getextrema()
        bits = phash(picture, HASH_SIDE).hash.ravel()
        hashed[path] = np.where(bits, 1, -1).astype(np.float32), darkest == brightest
    if errors:
        others = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        logger.warning(f"not compared with other images: {errors[0]}{others}")
    return hashed


def _thumbnail(path: str) -> Image.Image:
    """The picture in grey; a JPEG is decoded only as far as that is of use."""
    with open_image(path) as image:
        if image.format == "JPEG":
            image.draft("L", (_DECODED_SIDE, _DECODED_SIDE))
            return ImageOps.exif_transpose(image).convert("L")
    return Image.fromarray(read_image(path, "L")[:, :, 0])


def _content(path: str) -> tuple:
    """The same for the same pixels."""
    pixels = read_image(path, "RGB")
    return pixels.shape, hashlib.sha256(np.ascontiguousarray(pixels)).digest()


def check_similar(
    train: dict, test: dict, train_file: str, test_file: str, train_images: str, test_images: str
) -> list[Problem]:
    """Finds test images whose picture is in the training data, too.

    A file of both is left to :func:`.check_against`.

    Args:
        train, test: contents with all of their lists.
        train_file, test_file: their names.
        train_images, test_images: folders that their file names are relative to.
    """
    sides = ((train, train_file, train_images), (test, test_file, test_images))
    names = ([x["file_name"] for x in Report(c, file).items["images"]] for c, file, _ in sides)
    paths, test_paths = (
        [path for path in find_image_files(files, folder) if path]
        for files, (*_, folder) in zip(names, sides, strict=True)
    )
    where = f"{train_file}, {test_file}"
    try:
        pairs = find_similar(paths, test_paths)
    except MissingRequirement as error:
        return [Problem("not-compared", where, str(error), False)]
    found: dict[tuple[str, str], list[str]] = {}
    for path, test_path, kind in pairs:
        if os.path.realpath(path) != os.path.realpath(test_path):
            found.setdefault((test_path, kind), []).append(path)
    problems = []
    for (test_path, kind), same in found.items():
        problem, verb = _PROBLEMS[kind]
        others = f" and {len(same) - 1} more" if len(same) > 1 else ""
        message = f"{test_path} {verb} {same[0]}{others} to train on: results on it say little"
        problems.append(Problem(problem, where, message, False))
    return problems
