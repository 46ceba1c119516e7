"""Reading of image files that may be anything."""

import os
import warnings

import numpy as np
from PIL import Image

from detectron2.data.detection_utils import _apply_exif_orientation, convert_PIL_to_numpy

# Others are not common, and some are programs, such as EPS.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MAX_PIXELS = 40_000_000
MAX_RATIO = 200
"""Of an image's sides: resizing a narrower image for the network could leave nothing of it."""


def read_upload(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads an image as Detectron2 does; one of 16 bits per pixel or of floats is scaled to 8 bits.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: says what is wrong with the file, in words for who uploaded it.
    """
    name = os.path.basename(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large images, which are refused here, and odd metadata
        try:
            with Image.open(path, formats=FORMATS) as image:
                _check_size(name, *image.size, max_pixels)
                image.load()
                return convert_PIL_to_numpy(_to_8_bits(_apply_exif_orientation(image)), "RGB")
        except _RefusedError:
            raise
        except Image.DecompressionBombError as error:
            raise ValueError(_too_large(name, max_pixels)) from error
        except Image.UnidentifiedImageError as error:
            raise ValueError(
                f"{name} is no image, or none of the kinds {', '.join(FORMATS)}"
            ) from error
        except Exception as error:  # Pillow raises errors of many kinds on broken files
            raise ValueError(f"{name} is broken: {error}") from error


class _RefusedError(ValueError):
    pass


def _check_size(name: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise _RefusedError(f"{_too_large(name, max_pixels)}, not {width} x {height}")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise _RefusedError(f"{name} is too narrow: {width} x {height} pixels")


def _too_large(name: str, max_pixels: int) -> str:
    return f"{name} is too large: at most {max_pixels / 1e6:g} megapixels"


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
