#!/usr/bin/env python
"""Draws docs/architecture.svg, the way of the data through the detector."""

from html import escape
from pathlib import Path

OUTPUT = Path(__file__).resolve().parents[1] / "docs" / "architecture.svg"
WIDTH, HEIGHT = 1120, 640
DATA, NETWORK, TRAINING, TEST = "#eeeeee", "#d6e4f5", "#fbe3cf", "#d9efd9"

# x, y, width, height, colour, name, where it is or what it does
BOXES = [
    (20, 180, 110, 60, DATA, "images", "data/loading/"),
    (165, 180, 150, 60, NETWORK, "build_resnet", "backbones/resnet.py"),
    *((350, 100 + 46 * i, 60, 34, NETWORK, f"p{3 + i}", "") for i in range(5)),
    *((470, 90 + 42 * i, 90, 30, NETWORK, f"conv {1 + i}", "") for i in range(6)),
    (600, 80, 150, 52, NETWORK, "cls_decomposition", "layer attention"),
    (600, 152, 150, 52, NETWORK, "cls_alignment", "map M"),
    (600, 224, 150, 52, NETWORK, "box_alignment", "map O, 8 offsets"),
    (600, 296, 150, 52, NETWORK, "box_decomposition", "layer attention"),
    (785, 80, 135, 52, NETWORK, "cls_logits", "convolution"),
    (785, 152, 135, 52, NETWORK, "aligned_logits", "√(score · M)"),
    (785, 224, 135, 52, NETWORK, "align_boxes", "box_alignment.py"),
    (785, 296, 135, 52, NETWORK, "box_reg, decode", "convolution"),
    (975, 152, 125, 52, DATA, "pred_logits", "(N, K, Hi, Wi)"),
    (975, 224, 125, 52, DATA, "pred_boxes", "(N, 4, Hi, Wi)"),
    (670, 430, 250, 60, TRAINING, "ATSSAssigner, TaskAlignedAssigner", "assigners/"),
    (450, 430, 170, 60, TRAINING, "Targets", "targets.py"),
    (230, 430, 170, 60, TRAINING, "losses", "meta_arch.py, losses.py"),
    (20, 430, 160, 60, TRAINING, "Trainer", "engine/trainer.py"),
    (670, 540, 250, 60, TEST, "select_detections: NMS", "postprocessing.py"),
    (450, 540, 170, 60, TEST, "Instances", "Detectron2's"),
    (230, 540, 170, 60, TEST, "Predictor or evaluator", "inference/, evaluation/"),
]
# Corners of the lines between them.
ARROWS = [
    [(130, 210), (165, 210)],
    [(315, 210), (350, 210)],
    [(410, 210), (450, 210)],
    *([(560, 210), (580, 210), (580, y), (600, y)] for y in (106, 178, 250, 322)),
    *([(750, y), (785, y)] for y in (106, 178, 250, 322)),
    *([(515, y), (515, y + 12)] for y in range(120, 300, 42)),
    [(852, 132), (852, 152)],
    [(852, 296), (852, 276)],
    *([(920, y), (975, y)] for y in (178, 250)),
    [(1037, 204), (1037, 460), (920, 460)],
    [(1037, 460), (1037, 570), (920, 570)],
    *([(x, 460), (x - 50, 460)] for x in (670, 450, 230)),
    *([(x, 570), (x - 50, 570)] for x in (670, 450)),
]
TEXTS = [
    (690, 30, "TaskAlignedHead, the same for each level (heads/task_aligned_head.py)", 15),
    (515, 72, "inter_convs", 13),
    (380, 80, "build_fpn", 13),
    (795, 420, "training, with the ground truth", 13),
    (795, 530, "test", 13),
]


def text(x: float, y: float, content: str, size: int = 13, colour: str = "#222222") -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="middle">'
        f"{escape(content)}</text>"
    )


def draw() -> str:
    """The figure as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#555555"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        '<rect x="450" y="42" width="490" height="322" rx="8" fill="none" stroke="#8aa4c8" '
        'stroke-dasharray="5 4"/>',
    ]
    for corners in ARROWS:
        points = " ".join(f"{x},{y}" for x, y in corners)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="#555555" stroke-width="1.3" '
            'marker-end="url(#tip)"/>'
        )
    for x, y, width, height, colour, name, detail in BOXES:
        parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{colour}" '
            'stroke="#777777"/>'
        )
        middle, centre = x + width / 2, y + height / 2
        parts.append(text(middle, centre - (4 if detail else -5), name))
        if detail:
            parts.append(text(middle, centre + 15, detail, 12, "#555555"))
    parts += [text(*item) for item in TEXTS]
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    OUTPUT.write_text(draw(), encoding="utf-8")
