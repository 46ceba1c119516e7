#!/usr/bin/env python
"""Draws the detections of an exported model, without PyTorch or Detectron2.

onnx_demo.py model.onnx --input images/*.jpg --output pictures

Needs numpy, opencv-python and onnxruntime alone; what else there is to know is in the file of
tools/export_model.py.
"""

import argparse
import json
import os
import sys

import cv2
import numpy as np
import onnxruntime

FIELDS = ("class_names", "category_ids", "input_format", "size_divisibility")
FIELDS += ("short_edge_length", "max_size")
FIELDS += ("score_thresh", "nms_thresh", "max_detections", "has_nms")

FIXED_POINT = 1 << 22


def read_metadata(session: onnxruntime.InferenceSession) -> dict:
    """What the model says of itself.

    Raises:
        ValueError: if it is no detector of tood_d2.
    """
    properties = session.get_modelmeta().custom_metadata_map
    if missing := [name for name in FIELDS if name not in properties]:
        raise ValueError(f"no model of tools/export_model.py: it has no {', '.join(missing)}")
    return {name: json.loads(properties[name]) for name in FIELDS}


def resized_shape(height: int, width: int, short_edge: int, max_size: int) -> tuple[int, int]:
    """Height and width with a shorter side of ``short_edge`` pixels, at most ``max_size`` long."""
    scale = min(short_edge / min(height, width), max_size / max(height, width))
    return int(height * scale + 0.5), int(width * scale + 0.5)


def interpolation(length: int, new_length: int) -> np.ndarray:
    """(new_length, length) weights of a linear filter that is as wide as a new pixel.

    As Pillow resizes, which the model was trained with; OpenCV's linear filter would leave out
    pixels of large images.
    """
    scale = length / new_length
    support = max(scale, 1.0)
    centers = (np.arange(new_length) + 0.5) * scale
    distances = np.abs(np.arange(length) + 0.5 - centers[:, None]) / support
    weights = np.maximum(1 - distances, 0)
    return weights / weights.sum(axis=1, keepdims=True)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8, first across and then down, rounded each time."""

    def apply(weights: np.ndarray, image: np.ndarray) -> np.ndarray:
        # In whole numbers, as Pillow computes, which are exact in float64.
        whole = np.rint(weights * FIXED_POINT)
        lines = image.reshape(len(image), -1).astype(np.float64)
        resized = np.floor(whole @ lines / FIXED_POINT + 0.5).clip(0, 255).astype(np.uint8)
        return resized.reshape(len(weights), *image.shape[1:])

    across = apply(interpolation(image.shape[1], width), image.transpose(1, 0, 2))
    return apply(interpolation(image.shape[0], height), across.transpose(1, 0, 2))


def detect(
    session: onnxruntime.InferenceSession, metadata: dict, image: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detections of one image, the best first.

    Args:
        session: of the model.
        metadata: see :func:`read_metadata`.
        image: (H, W, 3) uint8, BGR.

    Returns:
        Boxes (D, 4), XYXY in pixels of the image, scores (D,) and classes (D,).
    """
    shape = resized_shape(*image.shape[:2], metadata["short_edge_length"], metadata["max_size"])
    resized = resize(image, *shape)
    if metadata["input_format"] == "RGB":
        resized = resized[:, :, ::-1]
    divisibility = metadata["size_divisibility"]
    padding = [(0, -side % divisibility) for side in shape]
    batch = np.pad(resized, [*padding, (0, 0)]).transpose(2, 0, 1)[None].astype(np.float32)
    sizes = np.array([shape], dtype=np.int64)
    boxes, scores, classes, *_ = (
        x[0] for x in session.run(None, {"images": batch, "image_sizes": sizes})
    )
    kept = np.flatnonzero(scores > metadata["score_thresh"])
    if not metadata["has_nms"]:
        corners_and_sides = np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), axis=1)
        best = cv2.dnn.NMSBoxesBatched(
            corners_and_sides[kept].tolist(), scores[kept].tolist(), classes[kept].tolist(),
            metadata["score_thresh"], metadata["nms_thresh"],
        )  # fmt: skip
        kept = kept[np.array(best, dtype=int)[: metadata["max_detections"]]]
    scale = np.array(image.shape[1::-1] * 2, np.float32) / np.array(shape[::-1] * 2, np.float32)
    return boxes[kept] * scale, scores[kept], classes[kept]


def draw(image: np.ndarray, boxes, scores, labels: list[str]) -> np.ndarray:
    """A copy of the image with boxes and their labels."""
    image = image.copy()
    thickness = max(1, round(min(image.shape[:2]) / 300))
    for box, score, label in zip(boxes, scores, labels, strict=True):
        x1, y1, x2, y2 = (int(round(float(x))) for x in box)
        hue = sum(map(ord, label)) * 37 % 180
        color = cv2.cvtColor(np.uint8([[[hue, 255, 220]]]), cv2.COLOR_HSV2BGR)[0, 0].tolist()
        cv2.rectangle(image, (x1, y1), (x2, y2), color, thickness)
        text, font = f"{label} {score:.0%}", cv2.FONT_HERSHEY_SIMPLEX
        size = 0.4 * thickness
        cv2.putText(image, text, (x1, max(y1 - 3, 12)), font, size, color, thickness, cv2.LINE_AA)
    return image


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help=".onnx file of tools/export_model.py")
    parser.add_argument("--input", nargs="+", required=True, help="image files")
    parser.add_argument("--output", default="demo_output", help="folder for the pictures")
    parser.add_argument("--confidence-threshold", type=float, default=0.3, help="score to draw")
    args = parser.parse_args()
    try:
        session = onnxruntime.InferenceSession(args.model, providers=["CPUExecutionProvider"])
        metadata = read_metadata(session)
        os.makedirs(args.output, exist_ok=True)
    except Exception as error:  # ONNX Runtime has no common type
        print(f"{parser.prog}: {args.model}: {error}", file=sys.stderr)
        return 2
    num_skipped = 0
    for path in args.input:
        image = cv2.imread(path)
        if image is None:
            print(f"{path}: not readable, skipped", file=sys.stderr)
            num_skipped += 1
            continue
        boxes, scores, classes = detect(session, metadata, image)
        shown = scores >= args.confidence_threshold
        labels = [metadata["class_names"][i] for i in classes[shown]]
        picture = draw(image, boxes[shown], scores[shown], labels)
        output = os.path.join(args.output, os.path.basename(path))
        cv2.imwrite(output, picture)
        print(f"{output}: {', '.join(labels) or 'nothing'}")
    return 1 if num_skipped else 0


if __name__ == "__main__":
    sys.exit(main())
