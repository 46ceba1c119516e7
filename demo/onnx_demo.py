#!/usr/bin/env python
"""Draws the detections of an exported model, without PyTorch or Detectron2.

onnx_demo.py model.onnx --input images/*.jpg --output pictures

Needs numpy, pillow and onnxruntime, and for models without NMS opencv-python. What else there is to
know is in the file of tools/export_model.py.
"""

import argparse
import contextlib
import json
import os
import sys
import warnings

import numpy as np
import onnxruntime
from PIL import Image, ImageColor, ImageDraw, ImageFont, ImageOps

FIELDS = {  # the model's metadata and their types
    "class_names": list,
    "category_ids": list,
    "input_format": str,
    "size_divisibility": int,
    "short_edge_length": int,
    "max_size": int,
    "score_thresh": float,
    "nms_thresh": float,
    "max_detections": int,
    "has_nms": bool,
}
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")  # of pictures; others become PNG files


def read_metadata(session: onnxruntime.InferenceSession) -> dict:
    """What the model says of itself.

    Raises:
        ValueError: if it is no detector of tood_d2, with what is wrong.
    """
    properties, metadata = session.get_modelmeta().custom_metadata_map, {}
    for name, kind in FIELDS.items():
        if name not in properties:
            raise ValueError(f"no model of tools/export_model.py: it has no {name}")
        with contextlib.suppress(ValueError):
            metadata[name] = json.loads(properties[name])
        if type(metadata.get(name)) not in ((int, float) if kind is float else (kind,)):
            text = f"{name} should be of type {kind.__name__}, not {properties[name]!r}"
            raise ValueError(f"odd metadata: {text}")
    return metadata


def read_image(path: str) -> Image.Image:
    """Reads an image, upright, as RGB of 8 bits; one of 16 bits is scaled."""
    with Image.open(path) as image:
        image.load()
    with contextlib.suppress(Exception):  # broken EXIF leaves the image as it is
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 or 32 bits per pixel
        values = np.asarray(image, np.float32)
        values = values / 257 if values.max() > 255 else values  # 65535 / 255
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    return image.convert("RGB")


def resized_shape(height: int, width: int, short_edge: int, max_size: int) -> tuple[int, int]:
    """Height and width with a shorter side of ``short_edge`` pixels, at most ``max_size`` long."""
    scale = min(short_edge / min(height, width), max_size / max(height, width))
    return int(height * scale + 0.5), int(width * scale + 0.5)


def detect(
    session: onnxruntime.InferenceSession, metadata: dict, image: Image.Image
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detections of one RGB image, the best first.

    Returns:
        Boxes (D, 4), XYXY in pixels of the image, scores (D,) and classes (D,).
    """
    height, width = resized_shape(
        image.height, image.width, metadata["short_edge_length"], metadata["max_size"]
    )
    resized = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    if metadata["input_format"] == "BGR":
        resized = resized[:, :, ::-1]
    padding = [(0, -side % max(metadata["size_divisibility"], 1)) for side in (height, width)]
    batch = np.pad(resized, [*padding, (0, 0)]).transpose(2, 0, 1)[None].astype(np.float32)
    inputs = {"images": batch, "image_sizes": np.array([[height, width]], np.int64)}
    boxes, scores, classes, *_ = (x[0] for x in session.run(None, inputs))
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


def draw(image: Image.Image, boxes: np.ndarray, texts: list[str]) -> None:
    """Draws boxes and their texts, each on a filled box of its own, into the image."""
    canvas = ImageDraw.Draw(image)
    size = max(12, min(image.size) // 30)
    font, width = ImageFont.load_default(size), max(1, size // 8)
    for box, text in zip(boxes.tolist(), texts, strict=True):
        hue = sum(map(ord, text.rpartition(" ")[0])) * 67 % 360  # of the class name
        color = ImageColor.getrgb(f"hsl({hue}, 100%, 40%)")
        (x1, x2), (y1, y2) = sorted(box[::2]), sorted(box[1::2])
        canvas.rectangle((x1, y1, x2, y2), outline=color, width=width)
        *_, right, bottom = canvas.textbbox((4 * width, 3 * width), text, font)
        x = max(0, min(x1, image.width - right))
        y = max(0, min(y1, image.height) - bottom)  # above the box if there is room
        canvas.rectangle((x, y, x + right, y + bottom), fill=color)
        is_bright = np.dot(color, (0.299, 0.587, 0.114)) > 110
        canvas.text((x + 2 * width, y + width), text, "black" if is_bright else "white", font)


def output_names(paths: list[str]) -> list[str]:
    """Names for the pictures of images, all different."""
    names: list[str] = []
    for path in paths:
        stem, suffix = os.path.splitext(os.path.basename(path))
        suffix = suffix if suffix.lower() in SUFFIXES else f"{suffix}.png"
        name, number = stem + suffix, 1
        while name in names:
            number += 1
            name = f"{stem}_{number}{suffix}"
        names.append(name)
    return names


def run(args: argparse.Namespace) -> int:
    """Draws and writes the pictures. Returns 1 if an image could not be read, else 0."""
    try:
        session = onnxruntime.InferenceSession(args.model, providers=["CPUExecutionProvider"])
        metadata = read_metadata(session)
    except Exception as error:  # ONNX Runtime's have no common type
        raise ValueError(f"{args.model}: {error}") from error
    os.makedirs(args.output, exist_ok=True)
    outputs = [os.path.join(args.output, name) for name in output_names(args.input)]
    inputs = {os.path.realpath(path) for path in args.input}
    taken = inputs | {os.path.dirname(path) for path in inputs}
    if taken & set(map(os.path.realpath, (args.output, *outputs))):
        raise ValueError(f"--output {args.output}: images are there, name another folder")
    status = 0
    for path, output in zip(args.input, outputs, strict=True):
        try:
            image = read_image(path)
        except Exception as error:  # Pillow's have no common type, either
            print(f"{path}: not readable, skipped ({error})", file=sys.stderr)
            status = 1
            continue
        try:
            boxes, scores, classes = detect(session, metadata, image)
            shown = scores >= args.confidence_threshold
            labels = [str(metadata["class_names"][i]) for i in classes[shown]]
        except Exception as error:
            raise ValueError(f"{args.model} fails on {path}: {error}") from error
        texts = [f"{x} {score:.0%}" for x, score in zip(labels, scores[shown], strict=True)]
        draw(image, boxes[shown], texts)
        try:
            image.save(output, quality=95)
        except OSError as error:
            raise OSError(f"{output}: cannot be written: {error.strerror or error}") from error
        print(f"{output}: {', '.join(labels) or 'nothing'}")
    return status


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("model", help=".onnx file of tools/export_model.py")
    add("--input", nargs="+", required=True, help="image files")
    add("--output", default="demo_output", help="folder for the pictures")
    add("--confidence-threshold", type=float, default=0.3, help="score to draw")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # Pillow's, of large images and odd metadata
    try:
        return run(args)
    except Exception as error:
        print(f"{parser.prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
