"""Statistics, tables and figures of made-up measurements."""

from benchmarking.report import draw, format_table, summarize
from benchmarking.workloads import Point

POINT = Point(size=(64, 96), batch=4)
FIRST = {"seconds": [2.0, 1.0, 4.0], "memory": 3_000_000, "flops": 100}
SECOND = {"seconds": [9.0, 3.0, 3.0], "memory": None, "flops": None}


def summary(point=POINT, **results):
    return summarize(point, results or {"a": FIRST, "b": SECOND}, "a")


def test_statistics():
    a, b = summary()
    assert a == {
        "contender": "a",
        "size": (64, 96),
        "batch": 4,
        "objects": 0,
        "seconds": [2.0, 1.0, 4.0],
        "median": 2.0,
        "min": 1.0,
        "max": 4.0,
        "ratio": 1.0,
        "memory": 3_000_000,
        "flops": 100,
        "flops_per_second": 50.0,
    }
    assert b["ratio"] == 1.5  # of 3 and 2
    assert b["flops_per_second"] is b["memory"] is None


def test_no_ratio_if_the_first_contender_failed():
    (b,) = summary(b=SECOND)
    assert b["ratio"] is None and b["median"] == 3.0


def test_table():
    lines = format_table(summary(), ["size", "batch"]).splitlines()
    head, _, a, b = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert head[:6] == ["contender", "size", "batch", "median ms", "min", "max"]
    a, b = dict(zip(head, a, strict=True)), dict(zip(head, b, strict=True))
    assert (a["size"], a["batch"], a["median ms"], a["memory MB"]) == ("64x96", "4", "2000", "3.0")
    assert (a["ratio"], a["GFLOP/s"]) == ("1.000", "5e-08")
    assert (b["ratio"], b["memory MB"], b["GFLOPs"]) == ("1.500", "–", "–")


def test_table_without_what_nobody_knows():
    head = format_table(summary(b=SECOND), ["size"]).splitlines()[0]
    assert "memory" not in head and "GFLOP" not in head and "ratio" not in head


def test_figure():
    points = [Point((64, 96), batch) for batch in (4, 1, 2)]
    figure = draw(sum((summary(point) for point in points), []), ["size", "batch"])
    time, memory = figure.axes
    for ax in (time, memory):
        assert (ax.get_xscale(), ax.get_yscale(), ax.get_xlabel()) == ("log", "log", "images")
    a, b = time.lines
    assert (a.get_label(), b.get_label()) == ("a", "b")
    assert a.get_xydata().tolist() == [[1, 2000], [2, 2000], [4, 2000]]
    assert memory.lines[0].get_ydata().tolist() == [3, 3, 3]
    ticks = dict(
        zip(time.get_xticks(), (x.get_text() for x in time.get_xticklabels()), strict=True)
    )
    assert ticks == {1: "1", 2: "2", 4: "4"}


def test_figure_of_two_sweeps_has_more_lines():
    points = [Point((x, 64), batch) for x in (96, 64) for batch in (1, 2)]
    figure = draw(sum((summary(point, a=FIRST) for point in points), []), ["size", "batch"])
    assert {x.get_label() for x in figure.axes[0].lines} == {"a, size 96x64", "a, size 64x64"}
