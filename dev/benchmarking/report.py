"""Tables and figures of what was measured."""

import math
import statistics

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tabulate import tabulate

from .comparing import Measurement
from .workloads import Point

COLUMNS = {
    "median ms": lambda x: f"{1e3 * x['median']:.4g}",
    "min": lambda x: f"{1e3 * x['min']:.4g}",
    "max": lambda x: f"{1e3 * x['max']:.4g}",
    "ratio": lambda x: f"{x['ratio']:.3f}",
    "paired ratio": lambda x: f"{x['paired_ratio']:.3f}",
    "images/s": lambda x: f"{x['images_per_second']:.4g}",
    "memory MB": lambda x: f"{x['memory'] / 1e6:.1f}",
    "GFLOPs": lambda x: f"{x['flops'] / 1e9:.4g}",
    "GFLOP/s": lambda x: f"{x['flops_per_second'] / 1e9:.4g}",
    "of matrix rate": lambda x: f"{x['share_of_matrix_rate']:.0%}",
}
"""How results become cells; "–" where a value is None."""


def summarize(
    point: Point, measurements: dict[str, Measurement], matrix_rates: dict[str, float], first: str
) -> list[dict]:
    """Statistics of the contenders at one point of the sweep.

    Args:
        point: of the sweep.
        measurements: by the contender's name.
        matrix_rates: operations per second in the contender's type, by its name.
        first: the contender that the others are compared with.

    Returns:
        For each contender ``contender, size, batch, objects, seconds`` (all times), ``median,
        min, max`` (of them), ``ratio`` (of the median to that of the first contender),
        ``paired_ratio`` (median of the ratios of each round), ``images_per_second, memory``
        (bytes), ``flops, flops_per_second, share_of_matrix_rate``; None where unknown.
    """
    reference = measurements.get(first)
    results = []
    for name, x in measurements.items():
        median = statistics.median(x.seconds)
        flops_per_second = x.flops / median if x.flops else None
        results.append(
            {
                "contender": name,
                **point._asdict(),
                "seconds": x.seconds,
                "median": median,
                "min": min(x.seconds),
                "max": max(x.seconds),
                "ratio": reference and median / statistics.median(reference.seconds),
                "paired_ratio": reference and _paired_ratio(x.seconds, reference.seconds),
                "images_per_second": point.batch / median,
                "memory": x.memory,
                "flops": x.flops,
                "flops_per_second": flops_per_second,
                "share_of_matrix_rate": flops_per_second and flops_per_second / matrix_rates[name],
            }
        )
    return results


def _paired_ratio(seconds: list[float], reference: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(seconds, reference, strict=True))


def format_conditions(command: str, report: dict) -> str:
    """What is measured on which machine, as a Markdown list.

    Args:
        command: the benchmark.
        report: with ``machine``, see :func:`describe_machine`, and ``matrix_rates``, operations
            per second by type.
    """
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    rates = [f"{rate / 1e9:.4g} ({dtype})" for dtype, rate in report["matrix_rates"].items()]
    lines = [
        f"{command} on the {'GPU' if machine['gpu'] else 'CPU'}",
        f"{machine['cpu']}: {machine['cores']} cores, threads in use: {machine['threads']}",
        versions,
        f"matrix product, GFLOP/s: {', '.join(rates)}" + (", TF32 on" if machine["tf32"] else ""),
    ]
    if machine["gpu"]:
        lines.insert(1, machine["gpu"])
    return "\n".join(f"- {line}" for line in lines)


def format_table(results: list[dict], swept: list[str]) -> str:
    """Markdown with a row for each contender and point, without columns that nothing is known of.

    Args:
        results: see :func:`summarize`.
        swept: which of "size", "batch" and "objects" get a column.
    """
    rows = []
    for x in results:
        row = {"contender": x["contender"]} | {key: format_value(x[key]) for key in swept}
        rows.append(row | {name: _cell(cell, x) for name, cell in COLUMNS.items()})
    known = [name for name in rows[0] if any(row[name] != "–" for row in rows)] if rows else []
    return tabulate(
        [[row[name] for name in known] for row in rows],
        known,
        tablefmt="github",
        disable_numparse=True,
    )


def _cell(cell, result: dict) -> str:
    try:
        return cell(result)
    except TypeError:  # None
        return "–"


def format_value(value: int | tuple[int, int]) -> str:
    """A coordinate of a point: 16, or 800x1344."""
    return str(value) if isinstance(value, int) else "x".join(map(str, value))


def draw(results: list[dict], swept: list[str]) -> Figure:
    """Draws time and, if known, memory against what was swept, a line for each contender.

    Of several quantities with several values the last one is the axis, the others make lines of
    their own.

    Args:
        results: see :func:`summarize`.
        swept: which of "size", "batch" and "objects" are of interest.
    """
    several = [key for key in swept if len({x[key] for x in results}) > 1]
    axis = (several or swept)[-1]
    lines: dict[str, list[dict]] = {}
    for x in results:
        others = [f"{key} {format_value(x[key])}" for key in several if key != axis]
        lines.setdefault(", ".join([x["contender"], *others]), []).append(x)
    with_memory = any(x["memory"] is not None for x in results)
    figure = Figure(figsize=(10 if with_memory else 6, 5), dpi=120, layout="constrained")
    axes = figure.subplots(1, 1 + with_memory, squeeze=False)[0]
    _draw_lines(axes[0], lines, axis, lambda x: 1e3 * x["median"], "median time, ms")
    if with_memory:
        # A logarithm needs a positive number.
        megabytes = lambda x: x["memory"] / 1e6 if x["memory"] else math.nan  # noqa: E731
        _draw_lines(axes[1], lines, axis, megabytes, "peak memory, MB")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", frameon=False)
    return figure


def _draw_lines(ax: Axes, lines: dict[str, list[dict]], axis: str, value, label: str) -> None:
    labels = {"size": "size of an image", "batch": "images", "objects": "objects of an image"}
    for name, results in lines.items():
        results = sorted(results, key=lambda x: _position(x[axis]))
        positions = [_position(x[axis]) for x in results]
        ax.plot(positions, [value(x) for x in results], marker="o", label=name)
    ax.set(xscale="log", yscale="log", xlabel=labels[axis], ylabel=label)
    ticks = {_position(x[axis]): format_value(x[axis]) for xs in lines.values() for x in xs}
    ax.set_xticks(list(ticks), list(ticks.values()), rotation=30)
    ax.set_xticks([], minor=True)
    ax.grid(alpha=0.3, which="both")


def _position(value: int | tuple[int, int]) -> int:
    return value if isinstance(value, int) else math.prod(value)
