"""What a data set looks like: some of its images with their boxes, and how the boxes are spread."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image

from ...text import drawable
from ..images import read_image
from .annotation_arrays import AnnotationArrays, annotation_arrays

CELL_SIZE = 480  # pixels of the longer side of an image
CELL_INCHES = (3.5, 3)
COLUMNS = 4
MAX_CLASSES = 20  # bars, for the classes with most boxes
BINS = 40
COLORS = colormaps["tab20"].colors


def draw_dataset(
    content: dict, paths: Sequence[str], num_images: int = 12, seed: int = 0
) -> Figure:
    """Draws a sample of annotated images over histograms of all boxes.

    The histograms show the size of the boxes (the square root of the area), their aspect ratio,
    the boxes per image and the boxes per class.

    Args:
        content: sound, see :func:`.read_sound_coco`.
        paths: of the images, see :func:`.find_image_files`.
        num_images: at most this many are drawn.
        seed: of their choice.

    Raises:
        FileNotFoundError, ValueError: if an image cannot be read.
    """
    images, arrays = content["images"], annotation_arrays(content)
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(images), min(num_images, len(images)), replace=False))
    num_rows = math.ceil(len(chosen) / COLUMNS)
    width, height = CELL_INCHES
    figure = Figure(figsize=(COLUMNS * width, (num_rows + 1) * height), layout="constrained")
    top, bottom = figure.subfigures(2, height_ratios=(num_rows, 1))
    axes = top.subplots(num_rows, COLUMNS, squeeze=False).flatten()
    for ax in axes:
        ax.set_axis_off()
    with drawable([x["name"] for x in content["categories"]]) as names:
        for ax, row in zip(axes, chosen, strict=False):
            _show_image(ax, paths[row])
            ax.set_title(f"image {images[row]['id']}", fontsize="small", parse_math=False)
            for i in np.flatnonzero(arrays.image_rows == row):
                category = arrays.category_rows[i]
                label = names[category] + " (crowd)" * bool(arrays.is_crowd[i])
                _draw_box(ax, arrays.boxes[i], label, COLORS[category % len(COLORS)])
        _draw_histograms(bottom.subplots(1, 4), arrays, names)
    return figure


def _show_image(ax: Axes, path: str) -> None:
    """Shows an image in coordinates of its pixels."""
    image = Image.fromarray(read_image(path, "RGB"))
    width, height = image.size
    image.thumbnail((CELL_SIZE, CELL_SIZE))
    ax.imshow(image, extent=(0, width, height, 0))


def _draw_box(ax: Axes, box: np.ndarray, label: str, color: tuple) -> None:
    x, y, width, height = box
    ax.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=color))
    background = {"facecolor": color, "linewidth": 0, "pad": 0.5}
    text = ax.text(x, y, label, va="bottom", fontsize=6, bbox=background, clip_on=True)
    text.set_in_layout(False)  # labels at the border would shrink the images


def _draw_histograms(axes: Sequence[Axes], arrays: AnnotationArrays, names: list[str]) -> None:
    numbers = np.bincount(arrays.image_rows, minlength=len(arrays.image_sizes))
    sides = arrays.boxes[:, 2:]
    width, height = sides[(sides > 0).all(axis=1)].T
    size = np.sqrt(width * height)
    _draw_log_histogram(axes[0], size, "size (square root of the area, pixels)")
    _draw_log_histogram(axes[1], width / height, "width / height")
    most = numbers.max()
    axes[2].hist(numbers, bins=np.arange(-0.5, most + 1) if most < BINS else BINS)
    axes[2].set(xlabel="boxes per image", ylabel="images")

    counts = np.bincount(arrays.category_rows, minlength=len(names))
    shown = np.argsort(-counts, kind="stable")[:MAX_CLASSES]
    axes[3].barh(np.arange(len(shown)), counts[shown])
    labels, family = [names[i] for i in shown], rcParams["font.family"]
    axes[3].set_yticks(np.arange(len(shown)), labels, family=family)
    axes[3].invert_yaxis()
    rest = len(names) - len(shown)
    axes[3].set(xlabel="boxes" + f" ({rest} rarer classes not shown)" * (rest > 0))


def _draw_log_histogram(ax: Axes, values: np.ndarray, label: str) -> None:
    ax.set(xscale="log", xlabel=label, ylabel="boxes")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    if len(values):
        ax.hist(values, np.geomspace(values.min() / 1.1, values.max() * 1.1, BINS + 1))
