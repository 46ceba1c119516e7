"""Pictures of an evaluation: precision-recall curves and a confusion matrix.

K classes, R recalls.
"""

import numpy as np
from matplotlib import colormaps, rcParams
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from ..text import drawable

NUM_NAMED = 5  # best and worst curves each that have a name and a colour where not all do
MAX_WITH_NUMBERS = 20  # classes for which the cells of a matrix have room for two lines
MAX_WITH_NAMES = 120  # classes that a matrix has room for names of
MAX_NAME = 20  # characters


def draw_pr_curves(
    recalls: np.ndarray, precisions: dict[float, np.ndarray], class_names: list[str]
) -> Figure:
    """Draws a curve for each class at the first IoU, and the mean over the classes at each.

    Of more than ten classes, only the five best and the five worst have names. Classes without
    ground truth are left out.

    Args:
        recalls: (R,) from 0 to 1.
        precisions: by the IoU threshold, (R, K) from 0 to 1, -1 for a class without ground truth,
            as in ``COCOeval.eval["precision"]``. Their means are AP.
        class_names: K, see :func:`.drawable`.
    """
    figure = Figure(figsize=(9.5, 6), dpi=120, layout="constrained")
    ax = figure.subplots()
    first = next(iter(precisions))
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.01))
    ax.set_title(f"Precision and recall of the classes at IoU {first:g}")
    ax.grid(alpha=0.3)
    known = {t: x[:, (x >= 0).all(axis=0)] for t, x in precisions.items()}
    if known[first].size == 0:
        ax.text(0.5, 0.5, "no detections or no ground truth", ha="center", va="center")
        return figure
    for (t, x), linestyle in zip(known.items(), ("-", "--", "-.", ":"), strict=False):
        label = f"{100 * x.mean():.1f}  mean at IoU {t:g}"
        mean = x.mean(axis=1)
        ax.plot(recalls, mean, "k", linestyle=linestyle, linewidth=2.5, zorder=3, label=label)
    with drawable(_shorten(class_names)) as labels:
        _draw_classes(ax, recalls, precisions[first], labels)
        ax.legend(title="AP", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def _draw_classes(
    ax: Axes, recalls: np.ndarray, precision: np.ndarray, class_names: list[str]
) -> None:
    (known,) = (precision >= 0).all(axis=0).nonzero()
    aps = precision.mean(axis=0)
    ranked = known[np.argsort(-aps[known], kind="stable")].tolist()
    num_others = max(len(ranked) - 2 * NUM_NAMED, 0)
    others = ranked[NUM_NAMED : NUM_NAMED + num_others]
    named = [i for i in ranked if i not in others]
    for rank, i in enumerate(named):
        if others and rank == NUM_NAMED:
            label = [f"{num_others} other classes"] + [None] * (num_others - 1)
            ax.plot(recalls, precision[:, others], "silver", linewidth=0.7, zorder=1, label=label)
        label = f"{100 * aps[i]:.1f}  {class_names[i]}"
        ax.plot(recalls, precision[:, i], color=colormaps["tab10"](rank), label=label)


def draw_confusion_matrix(matrix: np.ndarray, class_names: list[str], title: str) -> Figure:
    """Draws a confusion matrix, coloured by the share of its row.

    Cells have percentages of the row; up to 20 classes, numbers as well. Of more than 120 classes,
    there are colours only, and the axes have the indices of the classes.

    Args:
        matrix: (K + 1, K + 1) int64, rows true, columns predicted, the last of each for
            background, see ``tood_d2.evaluation.coco_evaluator.confusion_matrix``.
        class_names: K, see :func:`.drawable`.
        title: of the figure.
    """
    num_classes = len(class_names)
    totals = matrix.sum(axis=1, keepdims=True)
    percent = 100 * matrix / np.where(totals > 0, totals, np.nan)
    percent[-1, -1] = np.nan  # does not exist

    with_numbers = num_classes <= MAX_WITH_NUMBERS
    cell = 0.6 if with_numbers else 0.2  # inches
    side = np.clip(cell * len(matrix), 3, cell * MAX_WITH_NAMES)
    width, height = (3.2, 1.8) if with_numbers else (3.4, 3)  # of names and colour bar
    figure = Figure(figsize=(side + width, side + height), dpi=120, layout="constrained")
    ax = figure.subplots()
    ax.set_facecolor("lightgray")
    # The root makes rare confusions visible.
    picture = ax.imshow(percent, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=100))
    ticks = [0, 1, 5, 20, 50, 100]
    figure.colorbar(picture, ax=ax, label="% of the row", aspect=40, pad=0.02, ticks=ticks)
    size = "medium" if with_numbers else "xx-large"
    ax.set_xlabel("predicted", size=size)
    ax.set_ylabel("ground truth (number)", size=size)
    ax.set_title(title, size=size)
    if num_classes <= MAX_WITH_NAMES:
        with drawable(_shorten(class_names)) as labels:
            _write_names(ax, labels, totals.flatten(), with_numbers)
        _write_cells(ax, matrix, percent, with_numbers)
    return figure


def _write_names(ax: Axes, names: list[str], totals: np.ndarray, with_numbers: bool) -> None:
    ticks = np.arange(len(names) + 1)
    rows = zip([*names, "background"], totals, strict=True)
    family = rcParams["font.family"]
    ax.set_xticks(ticks, [*names, "nothing"], rotation=90, family=family)
    ax.set_yticks(ticks, [f"{name} ({total})" for name, total in rows], family=family)
    if not with_numbers:
        ax.tick_params(labelsize=7.5, top=True, labeltop=True)
    ax.set_xticks(ticks[:-1] + 0.5, minor=True)
    ax.set_yticks(ticks[:-1] + 0.5, minor=True)
    ax.grid(which="minor", color="gainsboro", linewidth=0.4)
    ax.tick_params(which="minor", length=0)


def _write_cells(ax: Axes, matrix: np.ndarray, percent: np.ndarray, with_numbers: bool) -> None:
    least = 0 if with_numbers else 0.5  # rounded, less would be 0
    for i, j in zip(*((matrix > 0) & (percent >= least)).nonzero(), strict=True):
        text = f"{matrix[i, j]}\n{percent[i, j]:.0f}%" if with_numbers else f"{percent[i, j]:.0f}"
        color = "white" if percent[i, j] > 35 else "black"
        size = 8 if with_numbers else 5.5
        ax.text(j, i, text, ha="center", va="center", size=size, color=color)


def _shorten(names: list[str]) -> list[str]:
    return [x if len(x) <= MAX_NAME else x[: MAX_NAME - 1] + "…" for x in names]
