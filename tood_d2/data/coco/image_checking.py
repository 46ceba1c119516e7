"""Problems of the image files of data in COCO's form."""

import contextlib
import os
from collections.abc import Iterator

from tqdm import tqdm

from ..images import open_image, orientation, oriented_size
from .checking import Problem, Report
from .image_files import find_image_files

_MANY = 20_000  # images whose headers take seconds


def check_images(
    content: dict, json_file: str, image_root: str | os.PathLike, decode: bool = True
) -> list[Problem]:
    """Opens every image of content that has all of its lists, once.

    Args:
        content: of the file.
        json_file: its name.
        image_root: folder that file names are relative to.
        decode: whether to decode the pixels; without it only headers are read.
    """
    report = Report(content, json_file)
    images = report.items["images"]
    paths = find_image_files([x["file_name"] for x in images], image_root)
    disable = None if decode or len(images) > _MANY else True  # None: unless on a terminal
    for row, item in enumerate(tqdm(images, unit="img", disable=disable)):
        for problem in _find_problems(item, paths[row], image_root, decode):
            report.add("images", row, **problem)
    return report.problems


def _find_problems(
    item: dict, path: str | None, image_root: str | os.PathLike, decode: bool
) -> list[dict]:
    """Arguments of ``Report.add`` for each problem of an image."""
    expected = os.path.join(image_root, item["file_name"])
    if path is None:
        message = f"{expected}: no such file"
        return [{"kind": "missing-image", "message": message, "fatal": True}]
    problems = []
    if path != expected:
        name = os.path.relpath(path, image_root)
        change = {"file_name": name}
        problems = [{"kind": "other-name", "message": f"is found as {name}", "change": change}]
    return problems + list(_header_problems(item, path, decode))


def _header_problems(item: dict, path: str, decode: bool) -> Iterator[dict]:
    try:
        with open_image(path) as image:
            raw_size, size, turned = image.size, image.size, 1
            # Pillow looks for a PNG's EXIF data behind its pixels, too, which it decodes for that.
            if decode or image.format != "PNG" or "exif" in image.info:
                size, turned = oriented_size(image), orientation(image)
            has_many_bits = image.mode == "F" or image.mode.startswith("I")
            num_pages = getattr(image, "n_frames", 1) if decode else 1
            if decode:
                image.load()
    except ValueError as error:
        yield {"kind": "unreadable-image", "message": str(error), "fatal": True}
        return
    width, height = size
    listed = tuple(_side(item.get(side)) for side in ("width", "height"))
    view = f"turned as its EXIF data say (orientation {turned})"
    if listed != size:
        change = {"width": width, "height": height}
        text = f"{item.get('width')} x {item.get('height')} in the file"
        if listed == raw_size:
            message = f"{text} is its size before it is {view}, {width} x {height} pixels"
            yield {
                "kind": "exif-unturned",
                "message": message,
                "fatal": True,
                "change": change,
                "orientation": turned,
            }
        else:
            message = f"{text}, but the image has {width} x {height} pixels: see whether boxes fit"
            yield {"kind": "wrong-size", "message": message, "fatal": True, "change": change}
    elif turned > 1:
        message = f"is {view}, its boxes should be those of that view"
        yield {"kind": "exif-turned", "message": message}
    if has_many_bits:
        message = "has more than 8 bits per pixel (16 bits, say), which are scaled to 8"
        yield {"kind": "many-bits", "message": message}
    if num_pages > 1:
        message = f"has {num_pages} pages, of which the first one is used"
        yield {"kind": "pages", "message": message}


def _side(value: object) -> float | None:
    with contextlib.suppress(OverflowError, ValueError):
        return float(value) if isinstance(value, int | float | str) else None
