"""`dataset.py suspects` with a model that detects much, on copies of the generated images."""

import json
import shutil
import sys

import pytest
from PIL import Image

from tood_d2.programs import suspects


@pytest.fixture
def run(load_script, monkeypatch, capsys, detecting_model):
    """Runs the command: exit status, standard output, standard error."""
    tool = load_script("tools/dataset.py")
    monkeypatch.setattr(suspects, "NUM_DRAWN", 2)  # faster

    def _run(json_file, images, output, *opts):
        config = detecting_model / "config.yaml"
        weights = f"train.init_checkpoint={detecting_model / 'model_final.pth'}"
        argv = ["suspects", json_file, images, "--config-file", config, "--output", output]
        argv += ["--opts", weights, *opts]
        monkeypatch.setattr(sys, "argv", ["dataset.py", *map(str, argv)])
        try:
            status = tool.main()
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return _run


@pytest.fixture
def data(shapes, tmp_path):
    """A folder with a copy of val.json and val."""
    shutil.copytree(shapes, tmp_path / "data")
    return tmp_path / "data"


def test_it_writes_a_list_and_a_picture(run, data, tmp_path):
    before = (data / "val.json").read_bytes()
    status, output, _ = run(data / "val.json", data / "val", tmp_path / "out")
    assert status == 0 and str(tmp_path / "out" / "suspects.json") in output
    found = json.loads((tmp_path / "out" / "suspects.json").read_text())
    assert [x["rank"] for x in found] == list(range(1, len(found) + 1)) != []
    content = json.loads(before)
    assert {x["file_name"] for x in found} <= {x["file_name"] for x in content["images"]}
    given = {x["id"]: x["bbox"] for x in content["annotations"]}
    for x in found:
        assert x["bbox"] == given.get(x["annotation_id"])
    assert Image.open(tmp_path / "out" / "suspects.png").width > 1000
    assert (data / "val.json").read_bytes() == before
    assert sorted(x.name for x in (tmp_path / "out").iterdir()) == ["suspects.json", "suspects.png"]


def test_it_does_not_write_over_its_input(run, data):
    json_file = (data / "val.json").rename(data / "suspects.json")
    before = json_file.read_bytes()
    status, _, errors = run(json_file, data / "val", data)
    assert status == 2 and "suspects.json is an input" in errors
    assert json_file.read_bytes() == before


def test_classes_that_the_model_does_not_know_are_named(run, data, tmp_path):
    content = json.loads((data / "val.json").read_text())
    row = next(
        i
        for i, x in enumerate(content["categories"])
        if any(a["category_id"] == x["id"] for a in content["annotations"])
    )
    content["categories"][row]["name"] = "hexagon"
    (data / "val.json").write_text(json.dumps(content))
    status, _, errors = run(data / "val.json", data / "val", tmp_path / "out")
    assert status == 2 and "has boxes of hexagon" in errors
    assert not (tmp_path / "out").exists()


def test_an_image_that_cannot_be_read_is_skipped(run, data, tmp_path, caplog):
    content = json.loads((data / "val.json").read_text())
    name = content["images"][0]["file_name"]
    path = data / "val" / name
    path.write_bytes(path.read_bytes()[:-100])  # the header is as it was
    status, _, _ = run(data / "val.json", data / "val", tmp_path / "out")
    assert status == 1
    assert any(f"skipped: {path}" in record.message for record in caplog.records)
    found = json.loads((tmp_path / "out" / "suspects.json").read_text())
    assert found != [] and name not in {x["file_name"] for x in found}


def test_an_image_that_is_missing_is_named_before_the_model_is_loaded(run, data, tmp_path):
    (data / "val" / "000001.png").unlink()
    weights = "train.init_checkpoint=nowhere.pth"
    status, _, errors = run(data / "val.json", data / "val", tmp_path / "out", weights)
    assert status == 2 and "000001.png" in errors and "nowhere.pth" not in errors
