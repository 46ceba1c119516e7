"""mutate_coco.py tells sound reading from silent changes of AP."""

import copy

import pytest


@pytest.fixture
def tool(load_script):
    return load_script("dev/mutate_coco.py")


def test_damaged_data_cause_no_problem(tool, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["mutate_coco.py", "--num", "40"])
    assert tool.main() == 0
    assert "PROBLEM" not in capsys.readouterr().out


def test_verdicts(tool, tmp_path):
    content = tool.make(tmp_path)
    tool.write(tmp_path / "good.json", content)
    good = tool.use(tmp_path / "good.json", tmp_path, tool.detections(content))
    assert good[1] == 12 and 85 < good[0] < 100

    def verdict(what="annotations[0] set x", **changes):
        changed = copy.deepcopy(content)
        changed["annotations"][0] |= changes
        return tool.judge(content, changed, what, tmp_path, good)

    assert verdict(id="x", area=None, segmentation=3) == "same"
    assert verdict(bbox=[0, 0, 2, 1], area=2).startswith("PROBLEM")  # as nothing tells of it
    assert verdict("annotations[0] set bbox 1", bbox=[0, 0, 2, 1], area=2) == "other data"
    assert verdict(bbox=[500, 0, 9, 9]) == "named by check"
    assert verdict(bbox=None) == "refused"
    assert verdict("annotations[0] set area 3", bbox=None) == "PROBLEM: refused"
