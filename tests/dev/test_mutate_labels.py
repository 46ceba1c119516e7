"""mutate_labels.py tells sound conversions from silent losses."""

import pytest


@pytest.fixture
def tool(load_script):
    return load_script("dev/mutate_labels.py")


def test_damaged_labels_cause_no_problem(tool, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["mutate_labels.py", "--num", "3"])
    assert tool.main() == 0
    assert "PROBLEM" not in capsys.readouterr().out


def test_verdicts(tool, tmp_path):
    tool.make_yolo(tmp_path)
    label = tmp_path / "labels" / "val" / "5.txt"
    expected = tool.boxes(tool.recognise(tmp_path))
    assert len(expected) == 12

    def verdict(convert=tool.recognise):
        return tool.judge(convert, tmp_path, expected)[0]

    assert verdict() == "same boxes"
    text = label.read_text()
    label.write_text(text.splitlines()[0])
    assert verdict() == "PROBLEM"  # as nobody can know of the line that is gone
    label.write_text(f"{text}0 0.5 0.5 0 0")
    assert verdict() == "same boxes"
    label.unlink()
    assert verdict() == "other boxes with a warning"
    label.write_text("0 0.5")
    assert verdict() == "refused by name"
    assert verdict(lambda root: 1 / 0) == "PROBLEM"
    assert verdict(lambda root: int("x")) == "PROBLEM"  # which names no file
