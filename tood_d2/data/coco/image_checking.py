"""Problems of the image files of data in COCO's form."""

import os

from PIL import ExifTags, Image
from tqdm import tqdm

from .checking import Problem, Report


def oriented_size(image: Image.Image) -> tuple[int, int, int]:
    """Reads the size that an image has once it is turned as its EXIF data says.

    Detectron2 reads images that way. No pixel is decoded.

    Returns:
        Width and height in pixels, and EXIF's orientation, 1 for an image to show as it is.
    """
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF data, which Detectron2 ignores, too
        orientation = 1
    is_turned_by_90_degrees = orientation in (5, 6, 7, 8)
    width, height = reversed(image.size) if is_turned_by_90_degrees else image.size
    return width, height, orientation


def check_images(content: dict, json_file: str, image_root: str | os.PathLike) -> list[Problem]:
    """Opens and decodes every image of content that has all of its lists, once."""
    report = Report(content, json_file)
    for row, image in enumerate(tqdm(report.items["images"], unit="img", disable=None)):
        if problem := _find_problem(os.path.join(image_root, image["file_name"]), image):
            report.add("images", row, *problem)
    return report.problems


def _find_problem(path: str, item: dict) -> tuple | None:
    """Kind, message, fatal or not, and true size if it is another; None without a problem."""
    if not os.path.isfile(path):
        return "missing-image", f"{path}: no such file", True
    try:
        with Image.open(path) as image:
            raw_size = image.size
            width, height, orientation = oriented_size(image)
            image.load()
    except Exception as error:  # Pillow's decoders raise errors of many types
        return "unreadable-image", f"{path} cannot be read: {error}", True
    size, listed = (width, height), (item.get("width"), item.get("height"))
    if listed == size:
        message = "is turned as its EXIF data says, its boxes should be those of that view"
        return ("exif-turned", message, False) if orientation in range(2, 9) else None
    text = f"{listed[0]} x {listed[1]} in the file"
    if listed == raw_size:
        message = f"{text} is the size before turning as its EXIF data says, {width} x {height}"
        return "exif-unturned", message, True, size
    message = f"{text}, but the image has {width} x {height} pixels: see whether its boxes fit"
    return "wrong-size", message, True, size
