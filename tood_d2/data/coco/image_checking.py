"""Problems of the image files of data in COCO's form."""

import os

from PIL import Image
from tqdm import tqdm

from .annotation_arrays import FIELDS, sound_positions
from .checking import Problem, locate

_EXIF_ORIENTATION = 0x0112
_TURNED_BY_90_DEGREES = (5, 6, 7, 8)


def oriented_size(image: Image.Image) -> tuple[int, int, int]:
    """Reads the size that an image has once it is turned as its EXIF data says.

    Detectron2 reads images that way. No pixel is decoded.

    Returns:
        Width and height in pixels, and EXIF's orientation, 1 for an image to show as it is.
    """
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # damaged EXIF data, which Detectron2 ignores, too
        orientation = 1
    width, height = image.size
    if orientation in _TURNED_BY_90_DEGREES:
        width, height = height, width
    return width, height, orientation


def check_images(content: dict, json_file: str, image_root: str | os.PathLike) -> list[Problem]:
    """Opens and decodes every image once.

    Args:
        content: of the file, with the list "images".
        json_file: to be named.
        image_root: folder that the file names are relative to.
    """
    images = content["images"]
    problems = []
    for position in tqdm(sound_positions(images, FIELDS["images"]), unit="img", disable=None):
        image = images[position]
        found = _check_image(os.path.join(image_root, image["file_name"]), image)
        if found is not None:
            kind, message, fatal, size = found
            where = locate(str(json_file), "images", position, image)
            problems.append(Problem(kind, where, message, fatal, ("images", position), size))
    return problems


def _check_image(path: str, item: dict) -> tuple[str, str, bool, tuple[int, int] | None] | None:
    """Kind, message, fatal or not, and true size if it is another; None without a problem."""
    if not os.path.isfile(path):
        return "missing-image", f"{path}: no such file", True, None
    try:
        with Image.open(path) as image:
            raw_size = image.size
            width, height, orientation = oriented_size(image)
            image.load()
    except Exception as error:  # Pillow's decoders raise errors of many types
        return "unreadable-image", f"{path} cannot be read: {error}", True, None
    size, listed = (width, height), (item.get("width"), item.get("height"))
    if listed == size:
        if orientation in range(2, 9):
            message = "is turned as its EXIF data says, its boxes should be those of that view"
            return "exif-turned", message, False, None
        return None
    text = f"{listed[0]} x {listed[1]} in the file"
    if listed == raw_size:
        message = f"{text} is the size before turning as its EXIF data says, {width} x {height}"
        return "exif-unturned", message, True, size
    message = f"{text}, but the image has {width} x {height} pixels: see whether its boxes fit"
    return "wrong-size", message, True, size
