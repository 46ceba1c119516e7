#!/usr/bin/env python
"""Draws the detections of an exported model, without PyTorch or Detectron2.

onnx_demo.py model.onnx --input images/*.jpg --output pictures

Needs numpy, pillow and onnxruntime (for .xml files openvino instead), and for models without NMS
opencv-python. What else there is to know is in the file of tools/export_model.py.
"""

import argparse
import contextlib
import functools
import glob
import itertools
import json
import math
import os
import sys
import warnings
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont, ImageOps
from PIL.PngImagePlugin import PngInfo

CHANNELS = {"RGB": slice(None), "BGR": slice(None, None, -1), "L": slice(None)}  # of a pixel
SUFFIXES = (".jpeg", ".jpg", ".png")  # of pictures; others become PNG files
MARK = "drawn by tood_d2"  # in pictures, which a later run may replace
# Pillow leaves it to other programs to decode these files, or is unable to.
NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
MAX_ASPECT_RATIO = 100  # of what is resized
MAX_LABEL = 40  # characters
MAX_NAME = 255  # bytes of a file's name
FONT_FOLDERS = (
    *("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts"),
    *("/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts", "C:/Windows/Fonts"),
)
MAX_SIDE = 8192  # pixels of the model's input


def is_positive(value: object) -> bool:
    return type(value) is int and value > 0


def is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def is_names(value: object) -> bool:
    return type(value) is list and value != [] and all(type(x) is str for x in value)


FIELDS = {  # what the model's metadata should be
    "class_names": ("a list of names", is_names),
    "category_ids": ("a list", lambda x: type(x) is list),
    "input_format": (" or ".join(CHANNELS), lambda x: type(x) is str and x in CHANNELS),
    "size_divisibility": ("a positive integer", is_positive),
    "short_edge_length": ("a positive integer", is_positive),
    "max_size": ("a positive integer", is_positive),
    "score_thresh": ("a number", is_number),
    "nms_thresh": ("a number", is_number),
    "max_detections": ("a positive integer", is_positive),
    "has_nms": ("true or false", lambda x: type(x) is bool),
}


def load(path: str) -> tuple[Callable[[dict], list[np.ndarray]], dict]:
    """Loads a model.

    Returns:
        A function from arrays by name to the arrays of the outputs, and the metadata.

    Raises:
        ValueError: if it is no detector of tood_d2, with what is wrong.
    """
    if path.endswith(".xml"):
        import openvino

        core = openvino.Core()
        model = core.read_model(path)
        known = model.get_rt_info("tood_d2").value if model.has_rt_info("tood_d2") else {}
        metadata = check_metadata(known if isinstance(known, dict) else {})
        # By itself it would compute in bfloat16 where the CPU can, with results that differ.
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda inputs: [*compiled(inputs).to_tuple()], metadata
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = check_metadata(session.get_modelmeta().custom_metadata_map)
    return lambda inputs: session.run(None, inputs), metadata


def check_metadata(properties: dict[str, str]) -> dict:
    """What the model says of itself.

    Raises:
        ValueError: if it is no detector of tood_d2, with what is wrong.
    """
    metadata = {}
    for name, (rule, fits) in FIELDS.items():
        if name not in properties:
            raise ValueError(f"no model of tools/export_model.py: it has no {name}")
        value = None
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(properties[name])
        if not fits(value):
            raise ValueError(
                f"odd metadata: {name} should be {rule}, not {properties[name][:80]!r}"
            )
        metadata[name] = value
    return metadata


def printable(text: str) -> str:
    """The text without control characters, which a terminal would obey."""
    return "".join(x if x.isprintable() else "?" for x in text)


def read_image(path: str) -> Image.Image:
    """Reads an image, upright, as RGB of 8 bits; one of 16 bits or of floats is scaled."""
    if not os.path.isfile(path):  # a pipe would be waited for
        raise FileNotFoundError("no such file")
    Image.init()
    with Image.open(path, formats=[x for x in Image.OPEN if x not in NOT_DECODED]) as image:
        image.load()
    with contextlib.suppress(Exception):  # broken EXIF leaves the image as it is
        image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):  # floats, 16 or 32 bits per pixel
        values = np.nan_to_num(np.asarray(image, np.float32), posinf=0, neginf=0)
        if image.mode == "F":
            values = 255 * (values - values.min()) / max(np.ptp(values), 1e-12)
        elif values.max() > 255:
            values = values / 257  # 65535 / 255
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    return image.convert("RGB")


def resized_shape(height: int, width: int, short_edge: int, max_size: int) -> tuple[int, int]:
    """Height and width with a shorter side of ``short_edge`` pixels, at most ``max_size`` long."""
    scale = min(short_edge / min(height, width), max_size / max(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def detect(
    model: Callable[[dict], list[np.ndarray]], metadata: dict, image: Image.Image
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detections of one RGB image, the best first.

    Returns:
        Boxes (D, 4), XYXY in pixels of the image, scores (D,) and classes (D,).
    """
    least = math.ceil(max(image.size) / MAX_ASPECT_RATIO)
    source = image
    if min(image.size) < least:
        size = max(image.width, least), max(image.height, least)
        source = image.resize(size, Image.Resampling.BILINEAR)
    height, width = resized_shape(
        source.height, source.width, metadata["short_edge_length"], metadata["max_size"]
    )
    if max(height, width) > MAX_SIDE:
        raise ValueError(f"{width} x {height} pixels are too many, a side may have {MAX_SIDE}")
    order = metadata["input_format"]
    source = source.convert("L") if order == "L" else source
    resized = np.atleast_3d(source.resize((width, height), Image.Resampling.BILINEAR))
    resized = resized[:, :, CHANNELS[order]]
    padding = [(0, -side % metadata["size_divisibility"]) for side in (height, width)]
    batch = np.pad(resized, [*padding, (0, 0)]).transpose(2, 0, 1)[None].astype(np.float32)
    inputs = {"images": batch, "image_sizes": np.array([[height, width]], np.int64)}
    boxes, scores, classes, *_ = (x[0] for x in model(inputs))
    if metadata["has_nms"]:
        kept = scores > metadata["score_thresh"]
    else:
        kept = nms(boxes, scores, classes, metadata)
    scale = np.float32([image.width / width, image.height / height] * 2)
    return boxes[kept] * scale, scores[kept], classes[kept]


def nms(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, metadata: dict) -> np.ndarray:
    """Indices of the boxes that non-maximum suppression leaves in each class, the best first."""
    import cv2

    boxes = np.hstack((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]))  # XYWH
    thresholds = metadata["score_thresh"], metadata["nms_thresh"]
    best = cv2.dnn.NMSBoxesBatched(boxes, scores, classes, *thresholds)
    return np.array(best, dtype=int)[: metadata["max_detections"]]


@functools.cache
def load_font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size)


def glyph(font: ImageFont.FreeTypeFont, character: str) -> bytes:
    image = Image.new("L", (40, 40))
    ImageDraw.Draw(image).text((4, 4), character, 255, font)
    return image.tobytes()


@functools.cache
def find_font(text: str) -> str | None:
    """A font with all characters of a text, "" for Pillow's own, None if the system has none."""
    patterns = [f"{os.path.expanduser(x)}/**/*.[ot]t[cf]" for x in FONT_FOLDERS]
    files = (sorted(glob.glob(x, recursive=True)) for x in patterns)
    for path in itertools.chain([""], itertools.chain.from_iterable(files)):
        with contextlib.suppress(OSError):
            font = load_font(path, 20)
            missing = glyph(font, "\U0010fffe")
            if all(glyph(font, x) != missing for x in {*text} - {" "}):
                return path
    return None


@functools.cache
def label_of(name: str, cls: int) -> str:
    """A class's name, or its number if it has no name or no font can write it."""
    name = name if len(name) <= MAX_LABEL else name[: MAX_LABEL - 1] + "…"
    if name.strip() and find_font(name) is None:
        warn_of_fonts()
        name = ""
    return name if name.strip() else str(cls)


@functools.cache
def warn_of_fonts() -> None:
    message = "no font of this system can write some class names: pictures show numbers instead"
    print(message, file=sys.stderr)


def draw(image: Image.Image, boxes: np.ndarray, texts: list[str]) -> None:
    """Draws boxes and their texts, each on a filled box of its own, into the image."""
    canvas = ImageDraw.Draw(image)
    size = max(12, min(image.size) // 30)
    width = max(1, size // 8)
    for box, text in zip(boxes.tolist(), texts, strict=True):
        hue = sum(map(ord, text.rpartition(" ")[0])) * 67 % 360  # of the class name
        color = ImageColor.getrgb(f"hsl({hue}, 100%, 40%)")
        font = load_font(find_font(text) or "", size)
        (x1, x2), (y1, y2) = sorted(box[::2]), sorted(box[1::2])
        canvas.rectangle((x1, y1, x2, y2), outline=color, width=width)
        *_, right, bottom = canvas.textbbox((4 * width, 3 * width), text, font)
        x = max(0, min(x1, image.width - right))
        y = max(0, min(y1, image.height) - bottom)  # above the box if there is room
        canvas.rectangle((x, y, x + right, y + bottom), fill=color)
        is_bright = np.dot(color, (0.299, 0.587, 0.114)) > 110
        canvas.text((x + 2 * width, y + width), text, "black" if is_bright else "white", font)


def output_names(paths: list[str]) -> list[str]:
    """Names for the pictures of images, all different, also where capital letters do not count."""
    names: dict[str, str] = {}
    for path in paths:
        stem, suffix = os.path.splitext(os.path.basename(path))
        suffix = suffix if suffix.lower() in SUFFIXES else f"{suffix}.png"
        for number in itertools.count(1):
            ending = suffix if number == 1 else f"_{number}{suffix}"
            while len(os.fsencode(stem + ending)) > MAX_NAME:
                stem = stem[:-1]
            if (key := (stem + ending).casefold()) not in names:
                names[key] = stem + ending
                break
    return [*names.values()]


def check_outputs(outputs: list[str], args: argparse.Namespace) -> None:
    """Raises a ValueError or an OSError if a picture would take the place of another file."""
    inputs = {os.path.realpath(path) for path in args.input}
    taken = inputs | {os.path.dirname(path) for path in inputs}
    if taken & set(map(os.path.realpath, (args.output, *outputs))):
        raise ValueError(f"--output {args.output}: images are there, name another folder")
    existing = [output for output in outputs if os.path.exists(output)]
    for output in existing:
        with open(output, "rb") as file:
            if MARK.encode() not in file.read(1024):
                raise ValueError(f"{output} exists and is not {MARK}: name another folder")
    if existing:
        message = f"{args.output}: {len(existing)} pictures of an earlier run are replaced"
        print(printable(message), file=sys.stderr)


def save(image: Image.Image, path: str) -> None:
    """Writes a picture, whole or not at all."""
    scratch = f"{os.path.dirname(path)}/.{os.getpid()}.tmp{os.path.splitext(path)[1]}"
    info = PngInfo()
    info.add_text("Software", MARK)
    try:
        image.save(scratch, quality=95, pnginfo=info, comment=MARK)
        os.replace(scratch, path)
    except OSError as error:
        raise OSError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            os.remove(scratch)


def run(args: argparse.Namespace) -> int:
    """Draws and writes the pictures. Returns 1 if an image could not be read, else 0."""
    paths = [*{os.path.abspath(path): path for path in args.input}.values()]
    outputs = [os.path.join(args.output, name) for name in output_names(paths)]
    check_outputs(outputs, args)
    try:
        model, metadata = load(args.model)
    except Exception as error:  # the runtimes' have no common type
        raise ValueError(f"{args.model}: {error}") from error
    os.makedirs(args.output, exist_ok=True)
    status = 0
    for path, output in zip(paths, outputs, strict=True):
        try:
            image = read_image(path)
        except Exception as error:  # Pillow's have no common type, either
            hint = " --max-megapixels allows more" * isinstance(error, Image.DecompressionBombError)
            print(printable(f"{path}: not readable, skipped ({error}{hint})"), file=sys.stderr)
            status = 1
            continue
        try:
            boxes, scores, classes = detect(model, metadata, image)
            shown = scores >= args.confidence_threshold
            names = [printable(metadata["class_names"][i]) or str(i) for i in classes[shown]]
        except Exception as error:
            raise ValueError(f"{args.model} fails on {path}: {error}") from error
        labels = map(label_of, names, classes[shown].tolist())
        texts = [f"{x} {score:.0%}" for x, score in zip(labels, scores[shown], strict=True)]
        draw(image, boxes[shown], texts)
        save(image, output)
        print(printable(f"{output}: {', '.join(names) or 'nothing'}"))
    return status


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("model", help=".onnx or .xml file of tools/export_model.py")
    add("--input", nargs="+", required=True, help="image files")
    add("--output", default="demo_output", help="folder for the pictures")
    add("--confidence-threshold", type=float, default=0.3, help="score to draw")
    add("--max-megapixels", type=float, metavar="N", help="largest image to read (179)")
    args = parser.parse_args()
    if args.max_megapixels is not None:
        if not 1 <= args.max_megapixels < 1e6:
            parser.error(f"--max-megapixels {args.max_megapixels}: should be at least 1")
        Image.MAX_IMAGE_PIXELS = int(args.max_megapixels * 1e6 / 2)  # Pillow refuses twice as many
    sys.stdout.reconfigure(errors="backslashreplace")
    warnings.simplefilter("ignore")  # Pillow's, of large images and odd metadata
    try:
        return run(args)
    except Exception as error:
        print(f"{parser.prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
