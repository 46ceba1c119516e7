"""Short versions of the interrupted runs and writes, and what they find if something is wrong."""

import sys

import pytest
import torch
from soak_kills import differences
from soak_writes import FAILURES


@pytest.fixture
def run(load_script, monkeypatch, capsys):
    """Runs the tool: exit status and the rows of its table."""
    tool = load_script("dev/soak.py")

    def _run(*argv):
        num_threads = torch.get_num_threads()
        monkeypatch.setattr(sys, "argv", ["soak.py", *map(str, argv)])
        try:
            status = tool.main()
        finally:
            torch.set_num_threads(num_threads)
        return status, [line.split() for line in capsys.readouterr().out.splitlines()]

    return _run


def test_writes_that_fail_leave_a_checkpoint(run):
    status, table = run("writes", "--writes", 3 * len(FAILURES))
    assert status == 0
    counts = {" ".join(row[:-4]): [int(x) for x in row[-4:]] for row in table[2:]}
    killed = counts.pop("killed at a moment")
    assert killed[0] == killed[1] + killed[2] == 3 and killed[3] == 0
    counts.pop("all")
    lost = {"killed at a byte", "full disk", "read-only folder"}
    lost |= {"truncated afterwards", "a bit changed afterwards"}
    assert lost < counts.keys() == FAILURES.keys() - {"killed at a moment"}
    for name, count in counts.items():
        assert count == ([3, 0, 3, 0] if name in lost else [3, 3, 0, 0]), name


def test_damage_that_is_not_noticed_is_reported(run, monkeypatch):
    monkeypatch.setattr("zipfile.ZipFile.testzip", lambda file: None)
    status, table = run("writes", "--writes", len(FAILURES))
    assert status == 1
    wrong = {" ".join(row[:-4]): int(row[-1]) for row in table if row[-1].isdigit()}
    assert wrong["a bit changed afterwards"] == 1 and wrong["full disk"] == 0


def test_differences():
    one = {"a": torch.tensor([1.0]), "b": [1, {"c": "x"}], "d": 2}
    same = {"a": torch.tensor([1.0]), "b": [1, {"c": "x"}], "d": 2}
    assert list(differences(one, same)) == []
    other = {"a": torch.tensor([2.0]), "b": [1, {"c": "y"}, 3], "e": 2}
    found = ["/a", "/b/1/c", "/b/2", "/d", "/e"]
    assert sorted(differences(one, other)) == found


@pytest.mark.slow
def test_killed_runs_end_alike(run):
    status, table = run("kills", "--kills", 3, "--iterations", 12)
    counts = {" ".join(row[:-1]): int(row[-1]) for row in table if row[-1].isdigit()}
    assert status == 0
    assert counts["kills"] == 3
    assert counts["equal"] == counts["runs"] >= 1 and counts["not equal"] == 0


@pytest.mark.slow
def test_a_ray_node_that_dies_loses_nothing(run):
    pytest.importorskip("ray.data")
    status, table = run("ray", "--images", 120)
    counts = {" ".join(row[:-1]): int(row[-1]) for row in table if row[-1].isdigit()}
    assert status == 0
    assert counts == counts | {"kills": 1, "rows": 120, "images": 120, "rows that differ": 0}
    assert counts["detections"] > 0
