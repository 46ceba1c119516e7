"""Data sets of FiftyOne, in its own database."""

import json
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from evaluated_data import AP, make_evaluated_data

from detectron2.config import LazyConfig
from tood_d2.config import load_run
from tood_d2.integrations.fiftyone import build_dataset
from tood_d2.programs import view

fo = pytest.importorskip("fiftyone")
pyarrow = pytest.importorskip("pyarrow")
from tood_d2.batch_prediction.detections import SCHEMA  # noqa: E402
from tood_d2.batch_prediction.job import Job, ResultFolder  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def database():
    """FiftyOne's database, which not every machine can run."""
    try:
        fo.list_datasets()
    except Exception as error:
        pytest.skip(f"FiftyOne has no database here: {error}")


@pytest.fixture(params=[int, "x{}".format], ids=["numbers", "text"])
def data(request, content, tmp_path):
    return make_evaluated_data(tmp_path, content, request.param)


def write(path, *results):
    keys = ("image_id", "category_id", "bbox", "score")
    path.write_text(json.dumps([dict(zip(keys, x, strict=True)) for x in results]))
    return path


def labels(dataset, field):
    """(file name, label, box in shares of the image, score, comparison) of each object."""
    return [
        (x.file_name, y.label, pytest.approx(y.bounding_box), y.confidence, y["eval"])
        for x in dataset
        for y in x[field].detections
    ]


def test_what_an_evaluation_leaves_is_compared_with_the_ground_truth(data):
    dataset = build_dataset(data.json_file, data.images, data.results)
    assert dataset.values("file_name") == ["sub/a.png", "b.png", "empty.png"]
    assert dataset.values("filepath")[0] == str(data.images / "sub" / "a.png")
    assert dataset.default_classes == ["cat", "dog"]
    assert labels(dataset, "ground_truth") == [
        ("sub/a.png", "cat", [0.1, 0.125, 0.3, 0.25], None, "tp"),
        ("b.png", "dog", [0, 0, 1, 1], None, "tp"),
    ]
    assert labels(dataset, "predictions") == [
        ("sub/a.png", "cat", [0.1, 0.125, 0.3, 0.19375], 0.75, "tp"),
        ("b.png", "dog", [0, 0, 1, 1], 0.5, "tp"),
        ("empty.png", "dog", [0.1, 0, 0.5, 0.5], 0.875, "fp"),
    ]
    assert dataset.last().ground_truth.detections == []
    assert data.ap == pytest.approx(AP)
    results = dataset.evaluate_detections("predictions", compute_mAP=True)
    assert 100 * results.mAP() == pytest.approx(AP)


def test_detections_with_low_scores_are_left_out(data):
    dataset = build_dataset(data.json_file, data.images, data.results, score_thresh=0.75)
    assert dataset.values("predictions.detections.eval") == [["tp"], [], ["fp"]]
    assert dataset.values("ground_truth.detections.eval") == [["tp"], ["fn"], []]


def test_ground_truth_alone(data):
    dataset = build_dataset(data.json_file, data.images)
    assert dataset.count("ground_truth.detections") == 2
    assert not dataset.has_field("predictions") and dataset.list_evaluations() == []


def test_an_evaluation_without_detections(data, tmp_path):
    dataset = build_dataset(data.json_file, data.images, write(tmp_path / "results.json"))
    assert dataset.count("predictions.detections") == 0
    assert dataset.values("ground_truth.detections.eval") == [["fn"], ["fn"], []]


def test_images_without_annotations(data):
    content = json.loads(data.json_file.read_text())
    data.json_file.write_text(json.dumps(content | {"annotations": []}))
    dataset = build_dataset(data.json_file, data.images, data.results)
    assert dataset.values("predictions.detections.label") == [["cat"], ["dog"], ["dog"]]
    assert dataset.list_evaluations() == []


def test_a_name_is_used_again(data, tmp_path):
    for _ in range(2):
        assert build_dataset(data.json_file, data.images, name=str(tmp_path)).name == str(tmp_path)


@pytest.mark.parametrize(
    "result, message",
    [
        ((7, 4, [0, 0, 1, 1], 0.5), "no class of the data has the id 4"),
        ((8, 3, [0, 0, 1, 1], 0.5), "in other images"),
    ],
)
def test_results_of_other_data_are_refused(data, tmp_path, result, message):
    results = write(tmp_path / "results.json", result)
    with pytest.raises(ValueError, match=f"results.json.*{message}"):
        build_dataset(data.json_file, data.images, results)


def test_some_results_of_other_images_are_left_out(data, log):
    results = json.loads(data.results.read_text())
    results[0]["image_id"] = 8
    data.results.write_text(json.dumps(results))
    dataset = build_dataset(data.json_file, data.images, data.results)
    assert dataset.count("predictions.detections") == 2
    assert "1 detections are in images that are not shown" in log.text


def test_other_json_is_refused(data):
    with pytest.raises(ValueError, match="data.json: should be a list of detections"):
        build_dataset(data.json_file, data.images, data.json_file)


def test_a_folder_of_predict_py(data, tmp_path):
    """Names come before ids, which such a folder may lack."""
    row = dict.fromkeys(SCHEMA.names) | {"height": 80, "width": 100}
    found = {"boxes": [[10, 10, 40, 30]], "scores": [0.75], "category_ids": [3]}
    rows = [
        row | found | {"file_name": "sub/a.png", "category_names": ["cat"]},
        row | {"file_name": "b.png", "error": "truncated"},
    ]
    folder, job = ResultFolder(str(tmp_path / "found")), Job(2, 2, "", {})
    folder.prepare(job)
    folder.write(job, 0, pyarrow.Table.from_pylist(rows, SCHEMA))
    dataset = build_dataset(data.json_file, data.images, folder.folder)
    assert labels(dataset, "predictions") == [
        ("sub/a.png", "cat", [0.1, 0.125, 0.3, 0.25], 0.75, "tp"),
    ]


def test_the_command(data, tmp_path, monkeypatch, capsys):
    """`tood view` opens the data of a config with what its evaluation left."""
    opened = []
    monkeypatch.setattr(fo, "launch_app", lambda x: opened.append(x) or Mock())
    run = load_run(str(ROOT / "configs" / "tood_R_18_FPN_tiny.py"))
    run = run.with_options(test_json=str(data.json_file), test_images=str(data.images))
    LazyConfig.save(run.cfg, str(tmp_path / "config.yaml"))
    monkeypatch.setattr(sys, "argv", ["tood view", str(tmp_path)])
    assert view.main() == 0
    assert opened[0].count("predictions.detections") == 3

    data.results.unlink()
    with pytest.raises(SystemExit):
        view.main()
    assert f"{data.results}: no such" in capsys.readouterr().err
