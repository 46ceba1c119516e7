"""Reading of image files, which may be anything.

Every program reads images by these functions, so that training, evaluation and demos see the same.
"""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image

from .files import image_formats

UPLOAD_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MAX_UPLOAD_PIXELS = 40_000_000
_METHODS = {  # by EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@contextlib.contextmanager
def open_image(
    path: str | os.PathLike, formats: Sequence[str] | None = None
) -> Iterator[Image.Image]:
    """Opens an image of which only the header is read. Errors inside are told of this file, too.

    Args:
        path: of a file, or what iopath takes for one, such as a URL.
        formats: of Pillow's names, by default those of :func:`.image_formats`. What Pillow was
            built without is left out.

    Raises:
        FileNotFoundError: if there is no such file. A folder or a named pipe is none either.
        ValueError: if it cannot be read, with the reason.
    """
    name, path = os.fspath(path), _local_path(os.fspath(path))
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{name}: no such image file")
    with _opened(path, name, formats) as image:
        yield image


@contextlib.contextmanager
def _opened(
    file: str | BinaryIO, name: str, formats: Sequence[str] | None
) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images and odd metadata
            known = image_formats()
            formats = [x for x in formats or known if x in known]
            with Image.open(file, formats=formats) as image:
                yield image
    except Image.DecompressionBombError as error:
        limit = f"{2 * Image.MAX_IMAGE_PIXELS / 1e6:.0f} megapixels"
        raise ValueError(
            f"{name} cannot be read: it has more than {limit}, Pillow's limit against files that "
            "fill the memory (PIL.Image.MAX_IMAGE_PIXELS)"
        ) from error
    except Image.UnidentifiedImageError as error:
        reason = "it is no image, or of a kind that is not read"
        raise ValueError(f"{name} cannot be read: {reason}") from error
    except Exception as error:  # Pillow's decoders raise errors of many types
        text = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{name} cannot be read: {text}") from error


def reason_of(error: Exception, path: str) -> str:
    """What an error of this module says of a file, without its name."""
    text = str(error).removeprefix(path).removeprefix(" cannot be read").removeprefix(": ")
    return text or type(error).__name__


def _local_path(path: str) -> str:
    if "://" not in path:
        return path
    from detectron2.utils.file_io import PathManager  # takes seconds

    return PathManager.get_local_path(path)


def orientation(image: Image.Image) -> int:
    """EXIF's orientation of an image, from 1, as it is, to 8. No pixel is decoded."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF data, which Detectron2 ignores, too
        return 1
    return value if value in _METHODS else 1


def oriented_size(image: Image.Image) -> tuple[int, int]:
    """Width and height in pixels of an image once it is turned as its EXIF data say."""
    width, height = image.size
    return (height, width) if orientation(image) >= 5 else (width, height)


def read_image(path: str | os.PathLike, format: str = "BGR") -> np.ndarray:
    """Reads an image as Detectron2 does, and scales one of 16 bits or of floats to 8 bits.

    It is turned as its EXIF data say. Of several pages the first one counts, transparency does not.

    Args:
        path: see :func:`open_image`.
        format: of the channels, "BGR", "RGB" or "L".

    Returns:
        (H, W, 3) uint8, or (H, W, 1) for "L".

    Raises:
        FileNotFoundError, ValueError: see :func:`open_image`.
    """
    with open_image(path) as image:
        return _pixels(image, format)


def decode_image(content: bytes, name: str, format: str = "BGR") -> np.ndarray:
    """The image in a file's bytes, as :func:`read_image` reads it.

    Args:
        content: of the file.
        name: for messages.
        format: see :func:`read_image`.

    Raises:
        ValueError: see :func:`open_image`.
    """
    with _opened(io.BytesIO(content), name, None) as image:
        return _pixels(image, format)


class TooManyPixels(ValueError):
    """An image with more pixels than a stranger's may have."""


def read_upload(path: str | os.PathLike) -> np.ndarray:
    """Reads an image of a stranger's like :func:`read_image`, (H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError, ValueError: say what is wrong with the file, without its folder.
    """
    opened, name = open_image(path, UPLOAD_FORMATS), os.path.basename(path)
    return _upload_pixels(opened, name, MAX_UPLOAD_PIXELS)


def decode_upload(content: bytes, max_pixels: int) -> np.ndarray:
    """The image in the bytes that a stranger sent, as :func:`read_upload` reads it.

    Raises:
        ValueError: says what is wrong with "the image"; :class:`TooManyPixels` if the header tells
            of more pixels than allowed, of which none is decoded.
    """
    name = "the image"
    return _upload_pixels(_opened(io.BytesIO(content), name, UPLOAD_FORMATS), name, max_pixels)


def _upload_pixels(
    opened: contextlib.AbstractContextManager[Image.Image], name: str, max_pixels: int
) -> np.ndarray:
    too_large = f"{name} is too large: at most {max_pixels / 1e6:g} megapixels"
    try:
        with opened as image:
            width, height = image.size
            is_large = width * height > max_pixels
            if not is_large:
                return _pixels(image, "RGB")
    except ValueError as error:
        if isinstance(error.__cause__, Image.DecompressionBombError):
            raise TooManyPixels(too_large) from error
        if isinstance(error.__cause__, Image.UnidentifiedImageError):
            kinds = ", ".join(UPLOAD_FORMATS)
            raise ValueError(f"{name} is no image, or none of the kinds {kinds}") from error
        raise ValueError(f"{name} is broken: {error.__cause__}") from error
    raise TooManyPixels(f"{too_large}, not {width} x {height} pixels")


def _pixels(image: Image.Image, format: str) -> np.ndarray:
    image.load()
    method = _METHODS.get(orientation(image))
    image = _to_8_bits(image)
    if method is not None:
        image = image.transpose(method)
    if format == "L":
        return np.asarray(image.convert("L"))[:, :, None]
    if format not in ("BGR", "RGB"):
        raise ValueError(f"the format of images should be BGR, RGB or L, not {format!r}")
    pixels = np.asarray(image.convert("RGB"))
    return pixels[:, :, ::-1] if format == "BGR" else pixels


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Pillow itself would cut off what is brighter than 255."""
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0.0, neginf=0.0)
    if image.mode == "F":
        values = 255 * (values - values.min()) / max(np.ptp(values), 1e-12)
    elif values.max() > 255:
        values = values / 257  # 65535 / 255
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))
