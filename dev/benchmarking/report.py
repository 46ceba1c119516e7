"""Tables and figures of what was measured."""

import math
import statistics

from matplotlib.figure import Figure
from tabulate import tabulate

from .workloads import Point

COLUMNS = {
    "median ms": ("median", lambda x: f"{1e3 * x:.4g}"),
    "min": ("min", lambda x: f"{1e3 * x:.4g}"),
    "max": ("max", lambda x: f"{1e3 * x:.4g}"),
    "ratio": ("ratio", lambda x: f"{x:.3f}"),
    "memory MB": ("memory", lambda x: f"{x / 1e6:.1f}"),
    "GFLOPs": ("flops", lambda x: f"{x / 1e9:.4g}"),
    "GFLOP/s": ("flops_per_second", lambda x: f"{x / 1e9:.4g}"),
}
"""For each column of the table, the key of a summary and how its value is written."""
AXES = {"size": "size of an image", "batch": "images", "objects": "objects of an image"}


def summarize(point: Point, results: dict[str, dict], first: str) -> list[dict]:
    """Statistics of the contenders at one point of the sweep.

    Args:
        point: of the sweep.
        results: see ``compare``.
        first: name of the contender that the others are compared with.

    Returns:
        For each contender ``contender, size, batch, objects, seconds`` (all times), ``median,
        min, max`` (of them), ``ratio`` (of the median to that of the first contender), ``memory``
        (bytes), ``flops, flops_per_second``; None where unknown.
    """
    median = {name: statistics.median(x["seconds"]) for name, x in results.items()}
    return [
        {"contender": name, **point._asdict(), **x}
        | {"median": median[name], "min": min(x["seconds"]), "max": max(x["seconds"])}
        | {"ratio": median[name] / median[first] if first in median else None}
        | {"flops_per_second": x["flops"] and x["flops"] / median[name]}
        for name, x in results.items()
    ]


def format_table(summaries: list[dict], swept: list[str]) -> str:
    """Markdown with a row for each contender and point, without columns that nothing is known of.

    Args:
        summaries: see :func:`summarize`.
        swept: which of "size", "batch" and "objects" get a column.
    """
    known = [
        name for name, (key, _) in COLUMNS.items() if any(x[key] is not None for x in summaries)
    ]
    rows = []
    for x in summaries:
        row = [x["contender"], *(format_value(x[key]) for key in swept)]
        for key, write in (COLUMNS[name] for name in known):
            row.append("–" if x[key] is None else write(x[key]))
        rows.append(row)
    return tabulate(rows, ["contender", *swept, *known], tablefmt="github", disable_numparse=True)


def format_value(value: int | tuple[int, int]) -> str:
    """A coordinate of a point: 16, or 800x1344."""
    return str(value) if isinstance(value, int) else "x".join(map(str, value))


def draw(summaries: list[dict], swept: list[str]) -> Figure:
    """Draws time and memory against what was swept, a line for each contender.

    Of several quantities with several values the last one is the axis, the others make lines of
    their own.

    Args:
        summaries: see :func:`summarize`.
        swept: which of "size", "batch" and "objects" are of interest.
    """
    several = [key for key in swept if len({x[key] for x in summaries}) > 1]
    axis = (several or swept)[-1]
    position = {x[axis]: x[axis] if axis != "size" else math.prod(x[axis]) for x in summaries}
    lines: dict[str, list[dict]] = {}
    for x in sorted(summaries, key=lambda x: position[x[axis]]):
        others = [f"{key} {format_value(x[key])}" for key in several if key != axis]
        lines.setdefault(", ".join([x["contender"], *others]), []).append(x)
    figure = Figure(figsize=(10, 5), dpi=120, layout="constrained")
    quantities = [("median", 1e3, "median time, ms"), ("memory", 1e-6, "peak memory, MB")]
    for ax, (key, factor, label) in zip(figure.subplots(1, 2), quantities, strict=True):
        for name, xs in lines.items():
            # A logarithm needs a positive number.
            values = [factor * x[key] if x[key] else math.nan for x in xs]
            ax.plot([position[x[axis]] for x in xs], values, marker="o", label=name)
        ax.set(xscale="log", yscale="log", xlabel=AXES[axis], ylabel=label)
        ax.set_xticks(list(position.values()), map(format_value, position), rotation=30)
        ax.set_xticks([], minor=True)
        ax.grid(alpha=0.3, which="both")
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", frameon=False)
    return figure
