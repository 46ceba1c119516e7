"""The report tells the AP of the last evaluation, and fails where there is none or it is low."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "dev" / "report_runs.py"
TRAINING = '{"iteration": 19, "total_loss": 2.5}\n'
FIRST = '{"bbox/AP": 10.04, "bbox/AP50": 31.0, "bbox/AP75": 9.96, "iteration": 49}\n'
LAST = '{"bbox/AP": 63.25001, "bbox/AP50": 88.0, "bbox/AP75": 70.96, "iteration": 99}\n'


def report(*arguments):
    result = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True
    )
    assert result.stderr.count("\n") <= 1  # a sentence, no traceback
    rows = [[x.strip() for x in row.strip("|\n").split("|")] for row in result.stdout.splitlines()]
    return result.returncode, rows, result.stderr


def write(folder, *lines):
    folder.mkdir(exist_ok=True)
    (folder / "metrics.json").write_text("".join(lines))
    return folder


@pytest.mark.parametrize("at_least", [[], ["--at-least", "63.2"]])
def test_last_evaluation_counts(tmp_path, at_least):
    write(tmp_path, FIRST, TRAINING, LAST, TRAINING)
    code, rows, error = report(tmp_path, *at_least)
    assert (code, error) == (0, "")
    assert rows == [
        ["run", "AP", "AP50", "AP75"],
        ["---"] * 4,
        [str(tmp_path), "63.3", "88.0", "71.0"],
    ]


def test_several_runs_with_time_and_alignment(tmp_path):
    times = [json.dumps({"time": x}) + "\n" for x in (0.5, 0.1, 0.3)]
    runs = [write(tmp_path / "a", *times, LAST), write(tmp_path / "b", *times[:2], FIRST)]
    for run, pcc in zip(runs, (0.5, 0.75), strict=True):
        (run / "alignment").mkdir()
        columns = {"pcc": pcc, "iou": 0.25, "correct": 10, "redundant": 4, "error": 2 * pcc}
        (run / "alignment" / "alignment.json").write_text(json.dumps(columns | {"more": []}))
    code, (head, _, *rows), _ = report(*runs)
    assert code == 0
    columns = ["PCC", "IoU", "correct", "redundant", "error"]
    assert head == ["run", "AP", "AP50", "AP75", "s / iteration", *columns]
    assert rows == [
        [str(runs[0]), "63.3", "88.0", "71.0", "0.300", "0.500", "0.250", "10", "4", "1"],
        [str(runs[1]), "10.0", "31.0", "10.0", "0.300", "0.750", "0.250", "10", "4", "2"],
        ["mean", "36.6", "59.5", "40.5", "0.300", "0.625", "0.250", "10", "4", "1"],
    ]


def test_what_one_run_lacks_has_no_mean(tmp_path):
    runs = [write(tmp_path / "a", LAST), write(tmp_path / "b", '{"time": 0.5}\n', FIRST)]
    _, (_, _, *rows), _ = report(*runs)
    assert [row[-1] for row in rows] == ["–", "0.500", "–"]


def test_too_low(tmp_path):
    write(tmp_path, LAST, FIRST)
    code, rows, error = report(tmp_path, "--at-least", "50")
    assert (code, rows[-1][1]) == (1, "10.0")
    assert "AP 10.0 is below 50" in error


def test_nan_is_too_low(tmp_path):
    write(tmp_path, LAST.replace("63.25001", "NaN"))
    assert report(tmp_path, "--at-least", "0")[0] == 1
    assert report(tmp_path)[0] == 0


def test_no_file(tmp_path):
    code, rows, error = report(tmp_path)
    assert (code, rows) == (2, [])
    assert f"{tmp_path / 'metrics.json'}: no such file" in error


@pytest.mark.parametrize("text", ["", TRAINING])
def test_no_evaluation(tmp_path, text):
    code, rows, error = report(write(tmp_path, text))
    assert (code, rows) == (2, [])
    assert f"{tmp_path / 'metrics.json'} has no box AP" in error


def test_interrupted_line(tmp_path):
    code, rows, error = report(write(tmp_path, FIRST, LAST[:20]))
    assert (code, rows) == (2, [])
    assert f"{tmp_path / 'metrics.json'} has a broken line" in error


@pytest.mark.parametrize("text", ["{}", "[]", "{"])
def test_damaged_alignment(tmp_path, text):
    write(tmp_path, LAST)
    (tmp_path / "alignment").mkdir()
    (tmp_path / "alignment" / "alignment.json").write_text(text)
    code, rows, error = report(tmp_path)
    assert (code, rows) == (2, [])
    assert f"{tmp_path / 'alignment' / 'alignment.json'} is not what" in error
