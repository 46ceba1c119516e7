"""The notebook as it is committed, and what its reader sees when he runs it."""

import base64
import copy
import io
import re

import numpy as np
import pytest
from PIL import Image

nbformat = pytest.importorskip("nbformat")
exceptions = pytest.importorskip("nbclient.exceptions")
run_tutorial = pytest.importorskip("run_tutorial")

MAX_CELLS, MAX_BYTES = 29, 500_000
DRAWING = ["show-data", "draw-losses", "draw-detections", "show-alignment", "compare-onnx"]


def read():
    return nbformat.read(run_tutorial.NOTEBOOK, as_version=4)


def cells_by_id(notebook):
    return {cell.id: cell for cell in notebook.cells}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tutorial")


@pytest.fixture(scope="module")
def executed(folder):
    """The notebook, run from top to bottom."""
    notebook = read()
    run_tutorial.execute(notebook, folder)
    return notebook


@pytest.fixture(scope="module")
def printed(executed):
    """What each cell printed, by its id."""
    return {
        cell.id: "".join(x.text for x in cell.outputs if x.output_type == "stream")
        for cell in executed.cells
        if cell.cell_type == "code"
    }


def assert_only_pictures_are_kept(notebook):
    nbformat.validate(notebook)
    assert notebook.metadata.language_info == {"name": "python"}
    for cell in notebook.cells:
        assert cell.metadata == {}
        if cell.cell_type == "code":
            assert cell.execution_count is None
            for output in cell.outputs:
                assert output.output_type == "display_data"
                assert len(output.data) == 1 and {*output.data} < {*run_tutorial.PICTURES}
    kept = [cell.id for cell in notebook.cells for _ in cell.get("outputs", [])]
    assert kept == DRAWING


def test_committed_notebook_is_short_and_keeps_only_pictures():
    notebook = read()
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert len(notebook.cells) <= MAX_CELLS
    assert run_tutorial.NOTEBOOK.stat().st_size < MAX_BYTES
    assert_only_pictures_are_kept(notebook)


def test_only_pictures_are_kept_of_a_run(executed):
    notebook = copy.deepcopy(executed)
    run_tutorial.keep_pictures(notebook)
    assert_only_pictures_are_kept(notebook)
    committed = cells_by_id(read())
    assert all(cell.source == committed[cell.id].source for cell in notebook.cells)


def test_cells_draw_pictures(executed):
    for output in run_tutorial.pictures(executed):
        (content,) = output.data.values()
        with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
            assert picture.width >= 600
            assert np.asarray(picture.convert("L")).std() > 10


def test_generated_data_have_no_problems(printed):
    assert "no problems" in printed["prepare-data"]
    (train, val) = re.findall(r"annotations/\w+\.json +(\d+)", printed["prepare-data"])
    assert (train, val) == ("240", "60")


def test_losses_fall(printed):
    losses = [float(x) for x in re.findall(r" total_loss: ([\d.]+)", printed["run-training"])]
    assert len(losses) >= 10
    assert losses[-1] < losses[0] / 2


def test_trained_model_is_good(printed):
    ap = dict(re.findall(r"^(\S+) +([\d.]+)$", printed["ap"], re.MULTILINE))
    assert {f"AP-{x}" for x in ("circle", "rectangle", "triangle", "star")} < {*ap}
    assert float(ap["AP"]) > 50


def test_objects_are_drawn_with_their_alignment(printed, folder):
    number = re.search(r"(\d+) objects, drawn in alignment", printed["draw-alignment"])[1]
    assert len([*folder.glob("tutorial_output/alignment/*.png")]) == int(number) > 0


def test_exported_model_agrees_with_pytorch(printed):
    assert "model.onnx: agrees with PyTorch" in printed["export-onnx"]
    compared = r"(\d+) detections; .*: (\S+) in the scores,\n(\S+) pixels"
    detections, scores, boxes = map(float, re.match(compared, printed["compare-onnx"]).groups())
    assert detections > 0
    assert scores < 1e-3 and boxes < 0.1


def test_all_files_go_into_one_folder(executed, folder):
    assert [x.name for x in folder.iterdir()] == ["tutorial_output"]


def test_failing_command_stops_the_notebook(tmp_path):
    notebook = read()
    cells = cells_by_id(notebook)
    cells["paths"].source = 'os.environ.update(ANNOTATIONS="missing.json", IMAGES=".")'
    notebook.cells = [cells[x] for x in ("install", "imports", "paths", "prepare-data")]
    with pytest.raises(exceptions.CellExecutionError, match="missing.json"):
        run_tutorial.execute(notebook, tmp_path)
