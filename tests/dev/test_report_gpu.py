"""The report of a GPU, rehearsed without one."""

import json
import subprocess
import sys

import pytest
import torch


@pytest.fixture
def report(load_script, monkeypatch, capsys):
    """Runs the tool: exit status, standard error."""
    tool = load_script("dev/report_gpu.py")

    def _report(*argv):
        monkeypatch.setattr(sys, "argv", ["report_gpu.py", *map(str, argv)])
        return tool.main(), capsys.readouterr().err

    _report.tool = tool
    return _report


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_how_to_rehearse(report, tmp_path, capsys):
    with pytest.raises(SystemExit) as outcome:
        report(tmp_path)
    assert outcome.value.code == 2 and "--rehearse" in capsys.readouterr().err


def test_what_fails_stands_in_the_report_and_the_rest_goes_on(report, tmp_path, monkeypatch):
    def run(command, cwd, timeout):
        if "pytest" in command:
            raise subprocess.TimeoutExpired(command, timeout)
        results = [] if "training" in command else [RESULT]
        failures = [{"contender": "tood", "error": "no memory"}] if not results else []
        command[-1].write_text(json.dumps({"results": results, "failures": failures}))

    times = {"median": 0.5, "min": 0.5, "max": 0.5, "seconds": [0.5], "ratio": 1.0}
    RESULT = {"contender": "tood", "size": [64, 96], "batch": 1, "objects": 0, **times}
    RESULT |= {"memory": 1e6, "flops": None, "flops_per_second": None}
    monkeypatch.setattr(report.tool.subprocess, "run", run)
    status, _ = report(tmp_path, "--rehearse")
    assert status == 1
    steps = json.loads((tmp_path / "gpu.json").read_text())["steps"]
    assert "TimeoutExpired" in steps["tests"]["error"]
    assert steps["inference"]["results"] and not steps["training"]["results"]
    text = (tmp_path / "gpu.md").read_text()
    assert "500" in text and "- tood failed: no memory" in text


@pytest.mark.slow
def test_rehearsal(report, tmp_path):
    status, _ = report(tmp_path, "--rehearse")
    steps = json.loads((tmp_path / "gpu.json").read_text())["steps"]
    assert status == 0 and list(steps) == ["tests", "inference", "training", "assignment"]
    assert steps["tests"]["tests"] > 10
    assert len(steps["inference"]["results"]) == 2 * 7  # contenders at two batches
