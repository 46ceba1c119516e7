"""Pictures of what find_suspects() found."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..data.images import read_image
from ..text import drawable
from .suspects import Suspect

COLUMNS = 6
CELL_INCHES = (2.6, 2.9)
MIN_SIDE = 64  # pixels of a crop
GT_STYLE = {"edgecolor": "orange", "linestyle": "--"}
PRED_STYLE = {"edgecolor": "deepskyblue", "linestyle": "-"}


def draw_suspects(suspects: Sequence[Suspect], image_files: Mapping[int | str, str]) -> Figure:
    """Draws the surroundings of each suspect, with the annotation dashed and the detection solid.

    Args:
        suspects: in the order of their ranks.
        image_files: the path of each image, by its id.

    Raises:
        OSError, ValueError: if an image cannot be read.
    """
    num_rows = max(1, math.ceil(len(suspects) / COLUMNS))
    width, height = CELL_INCHES
    figure = Figure(figsize=(COLUMNS * width, num_rows * height), layout="constrained")
    figure.suptitle("dashed: annotation, solid: detection with its score", fontsize="medium")
    classes = sorted({x.pred_category for x in suspects} | {x.category or "" for x in suspects})
    axes = figure.subplots(num_rows, COLUMNS, squeeze=False).flatten()
    for ax in axes:
        ax.set_axis_off()
    with drawable(classes) as names:
        labels = dict(zip(classes, names, strict=True))
        for rank, (ax, suspect) in enumerate(zip(axes, suspects, strict=False), start=1):
            _show_crop(ax, image_files[suspect.image_id], suspect)
            given = f"{labels[suspect.category]}: " if suspect.category is not None else ""
            detected = f"{labels[suspect.pred_category]} {suspect.pred_score:.2f}"
            title = f"{rank}. {suspect.kind}\n{given}{detected}"
            ax.set_title(title, fontsize="small", wrap=True)
    return figure


def _show_crop(ax: Axes, path: str, suspect: Suspect) -> None:
    image = read_image(path, "RGB")
    styled = [(suspect.bbox, GT_STYLE), (suspect.pred_bbox, PRED_STYLE)]
    styled = [(np.array(box), style) for box, style in styled if box is not None]
    start = np.min([box[:2] for box, _ in styled], axis=0)
    end = np.max([box[:2] + box[2:] for box, _ in styled], axis=0)
    half = max(MIN_SIDE / 2, *(end - start))
    height, width = image.shape[:2]
    left, top = (int(x) for x in np.clip((start + end) / 2 - half, 0, (width - 1, height - 1)))
    right, bottom = (math.ceil(x) for x in np.clip((start + end) / 2 + half, 1, (width, height)))
    ax.imshow(image[top:bottom, left:right], extent=(left, right, bottom, top))
    for (x, y, box_width, box_height), style in styled:
        ax.add_patch(Rectangle((x, y), box_width, box_height, fill=False, linewidth=1.5, **style))
