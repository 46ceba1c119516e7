"""What a data set looks like: some of its images with their boxes, and how the boxes are spread."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from detectron2.data import Metadata
from detectron2.data.detection_utils import read_image
from detectron2.structures import BoxMode
from detectron2.utils.colormap import colormap
from detectron2.utils.visualizer import Visualizer

CELL_SIZE = 480  # pixels of the longer side of an image
CELL_INCHES = (3.5, 3)
COLUMNS = 4
MAX_CLASSES = 20  # bars, for the classes with most boxes
BINS = 40


def draw_dataset(
    records: Sequence[dict], class_names: Sequence[str], num_images: int = 12, seed: int = 0
) -> Figure:
    """Draws a sample of annotated images over histograms of all boxes.

    The histograms show the size of the boxes (the square root of the area), their aspect ratio,
    the boxes per image and the boxes per class.

    Args:
        records: Detectron2's dataset dicts, at least one, with "annotations".
        class_names: K names.
        num_images: images to draw; all of them if there are fewer.
        seed: of the choice of images.

    Raises:
        ValueError: if there are no records.
        OSError: if an image cannot be read.
    """
    if not records:
        raise ValueError("there is no image to draw")
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(records), min(num_images, len(records)), replace=False))
    num_rows = -(-len(chosen) // COLUMNS)
    width, height = CELL_INCHES
    figure = Figure(figsize=(COLUMNS * width, (num_rows + 1) * height), layout="constrained")
    top, bottom = figure.subfigures(2, height_ratios=(num_rows, 1))
    axes = top.subplots(num_rows, COLUMNS, squeeze=False).flatten()
    for ax in axes:
        ax.set_axis_off()
    for ax, index in zip(axes, chosen, strict=False):
        record = records[index]
        ax.imshow(_draw_record(record, class_names))
        ax.set_title(f"image {record['image_id']}", fontsize="small")
    _draw_histograms(bottom.subplots(1, 4), records, class_names)
    return figure


def _xywh(record: dict) -> np.ndarray:
    """(M, 4) boxes of a record."""
    boxes = [
        BoxMode.convert(list(x["bbox"]), x["bbox_mode"], BoxMode.XYWH_ABS)
        for x in record["annotations"]
    ]
    return np.array(boxes, dtype=float).reshape(-1, 4)


def _draw_record(record: dict, class_names: Sequence[str]) -> np.ndarray:
    """An image (H, W, 3), uint8 RGB, with its boxes in the colours of their classes."""
    image = read_image(record["file_name"], format="RGB")
    visualizer = Visualizer(image, Metadata(), scale=CELL_SIZE / max(image.shape[:2]))
    boxes = _xywh(record)
    boxes[:, 2:] += boxes[:, :2]
    colors = colormap(rgb=True, maximum=1)
    classes = [x["category_id"] for x in record["annotations"]]
    crowds = [" (crowd)" * bool(x.get("iscrowd")) for x in record["annotations"]]
    output = visualizer.overlay_instances(
        boxes=boxes,
        labels=[class_names[i] + crowd for i, crowd in zip(classes, crowds, strict=True)],
        assigned_colors=[colors[i % len(colors)] for i in classes],
    )
    return output.get_image()


def _draw_histograms(
    axes: Sequence[Axes], records: Sequence[dict], class_names: Sequence[str]
) -> None:
    numbers = [len(record["annotations"]) for record in records]
    sides = np.concatenate([_xywh(record)[:, 2:] for record in records])
    width, height = sides[(sides > 0).all(axis=1)].T
    _draw_log_histogram(axes[0], np.sqrt(width * height))
    axes[0].set(xlabel="size (square root of the area, pixels)", ylabel="boxes")
    _draw_log_histogram(axes[1], width / height)
    axes[1].set(xlabel="width / height", ylabel="boxes")
    most = max(numbers)
    axes[2].hist(numbers, bins=np.arange(-0.5, most + 1) if most < BINS else BINS)
    axes[2].set(xlabel="boxes per image", ylabel="images")

    classes = [x["category_id"] for record in records for x in record["annotations"]]
    counts = np.bincount(np.array(classes, dtype=int), minlength=len(class_names))
    shown = np.argsort(-counts, kind="stable")[:MAX_CLASSES]
    axes[3].barh([class_names[i] for i in shown], counts[shown])
    axes[3].invert_yaxis()
    rest = len(class_names) - len(shown)
    axes[3].set(xlabel="boxes" + f" ({rest} rarer classes not shown)" * (rest > 0))


def _draw_log_histogram(ax: Axes, values: np.ndarray) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    if len(values):
        low, high = values.min(), values.max()
        ax.hist(values, bins=np.geomspace(low / 1.1, high * 1.1, BINS + 1))
