"""Reading of image files that may be anything."""

import os
import warnings

import numpy as np
from PIL import Image

from detectron2.data.detection_utils import _apply_exif_orientation, convert_PIL_to_numpy

# Others are not common, and some are programs, such as EPS.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MAX_PIXELS = 40_000_000
MAX_RATIO = 200  # of an image's sides: resizing a narrower one could leave nothing of it


def read_upload(path: str | os.PathLike) -> np.ndarray:
    """Reads an image as Detectron2 does; one of 16 bits per pixel or of floats is scaled to 8 bits.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: says what is wrong with the file, in words for who uploaded it.
    """
    name = os.path.basename(path)
    too_large = f"{name} is too large: at most {MAX_PIXELS / 1e6:g} megapixels"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large images, which are refused here, and odd metadata
        try:
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                is_large = width * height > MAX_PIXELS
                if not is_large and max(width, height) <= MAX_RATIO * min(width, height):
                    image.load()
                    return convert_PIL_to_numpy(_to_8_bits(_apply_exif_orientation(image)), "RGB")
        except Image.DecompressionBombError as error:
            raise ValueError(too_large) from error
        except Image.UnidentifiedImageError as error:
            kinds = ", ".join(FORMATS)
            raise ValueError(f"{name} is no image, or none of the kinds {kinds}") from error
        except Exception as error:  # Pillow raises errors of many kinds on broken files
            raise ValueError(f"{name} is broken: {error}") from error
    problem = f"{too_large}, not" if is_large else f"{name} is too narrow:"
    raise ValueError(f"{problem} {width} x {height} pixels")


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
