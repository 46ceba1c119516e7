"""The report tells the AP of the last evaluation, and fails where there is none or it is low."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "report_ap.py"
TRAINING = '{"iteration": 19, "total_loss": 2.5}\n'
FIRST = '{"bbox/AP": 10.04, "bbox/AP50": 31.0, "bbox/AP75": 9.96, "iteration": 49}\n'
LAST = '{"bbox/AP": 63.25001, "bbox/AP50": 88.0, "bbox/AP75": 70.96, "iteration": 99}\n'


def report(folder, *arguments):
    result = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), *arguments], capture_output=True, text=True
    )
    assert result.stderr.count("\n") <= 1  # a sentence, no traceback
    return result.returncode, result.stdout, result.stderr


@pytest.mark.parametrize("at_least", [[], ["--at-least", "63.2"]])
def test_last_evaluation_counts(tmp_path, at_least):
    (tmp_path / "metrics.json").write_text(FIRST + TRAINING + LAST + TRAINING)
    expected = (0, "AP 63.3, AP50 88.0, AP75 71.0\n", "")
    assert report(tmp_path, *at_least) == expected


def test_too_low(tmp_path):
    (tmp_path / "metrics.json").write_text(LAST + FIRST)
    code, out, error = report(tmp_path, "--at-least", "50")
    assert (code, out) == (1, "AP 10.0, AP50 31.0, AP75 10.0\n")
    assert "AP is below 50" in error


def test_nan_is_too_low(tmp_path):
    (tmp_path / "metrics.json").write_text(LAST.replace("63.25001", "NaN"))
    assert report(tmp_path, "--at-least", "0")[0] == 1
    assert report(tmp_path)[0] == 0


def test_no_file(tmp_path):
    code, out, error = report(tmp_path)
    assert (code, out) == (1, "")
    assert f"{tmp_path / 'metrics.json'}: no such file" in error


@pytest.mark.parametrize("text", ["", TRAINING])
def test_no_evaluation(tmp_path, text):
    (tmp_path / "metrics.json").write_text(text)
    code, out, error = report(tmp_path)
    assert (code, out) == (1, "")
    assert f"{tmp_path / 'metrics.json'} has no box AP" in error


def test_interrupted_line(tmp_path):
    (tmp_path / "metrics.json").write_text(FIRST + LAST[:20])
    code, out, error = report(tmp_path)
    assert (code, out) == (1, "")
    assert f"{tmp_path / 'metrics.json'} has a broken line" in error
