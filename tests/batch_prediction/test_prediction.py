"""tools/predict.py: rows, and going on after a stop."""

import json
import shutil

import fsspec
import pytest
from script_runs import Command
from script_runs import run as run_script

pyarrow = pytest.importorskip("pyarrow")

from tood_d2.batch_prediction import detections  # noqa: E402
from tood_d2.batch_prediction.detections import detect_items  # noqa: E402
from tood_d2.batch_prediction.items import Item  # noqa: E402
from tood_d2.batch_prediction.job import Job, ResultFolder  # noqa: E402
from tood_d2.batch_prediction.sources import find_items  # noqa: E402
from tood_d2.config import load_run  # noqa: E402
from tood_d2.data.images import read_image  # noqa: E402
from tood_d2.inference import Predictor  # noqa: E402


@pytest.fixture(scope="module")
def predictor(detecting_model):
    weights = str(detecting_model / "model_final.pth")
    return Predictor(load_run(str(detecting_model / "config.yaml"), weights=weights))


@pytest.fixture
def predict(tmp_path, detecting_model, shapes):
    """Runs tools/predict.py on images, by default those of validation; gives its outcome."""

    def _predict(*args, source=shapes / "val", opts=()):
        opts = "--opts", f"train.init_checkpoint={detecting_model}/model_final.pth", *opts
        config = "--config-file", detecting_model / "config.yaml", *opts
        command = "tools/predict.py", "--input", source, *args, *config
        return run_script(Command([*map(str, command)]), tmp_path)

    return _predict


def table(folder):
    return [*ResultFolder(str(folder)).rows()]


class TestRows:
    @pytest.mark.parametrize("batch_size", [1, 2])
    def test_they_are_what_the_predictor_finds(self, predictor, shapes, batch_size):
        items = find_items([str(shapes / "val")])
        rows = detect_items(predictor, items, batch_size=batch_size).to_pylist()
        images = [read_image(item.path, "RGB") for item in items]
        expected = [*predictor.detect_all(images, batch_size)]
        assert [x["file_name"] for x in rows] == ["000001.png", "000002.png", "000003.png"]
        for row, found, image in zip(rows, expected, images, strict=True):
            assert (row["height"], row["width"]) == image.shape[:2] and row["error"] is None
            assert row["boxes"] == found.pred_boxes.tensor.tolist()
            assert row["scores"] == found.scores.tolist() and len(row["scores"]) > 10
            ids = [predictor.category_ids[x] for x in found.pred_classes]
            assert row["category_ids"] == ids
            assert {*row["category_names"]} <= {"circle", "rectangle", "triangle", "star"}

    def test_a_threshold(self, predictor, shapes):
        items = find_items([str(shapes / "val")])
        every, some = (
            detect_items(predictor, items, score_thresh=x)["scores"].to_pylist() for x in (0, 0.54)
        )
        assert some == [[x for x in scores if x >= 0.54] for scores in every]
        assert 0 < len(some[0]) < len(every[0])

    def test_what_cannot_be_read_is_a_row_with_its_reason(self, predictor, shapes, tmp_path):
        (tmp_path / "text.png").write_text("no image")
        good = find_items([str(shapes / "val")])
        bad = [Item(x, 9, str(tmp_path / x)) for x in ("text.png", "gone.png")]
        rows = detect_items(predictor, [bad[0], *good, bad[1]], batch_size=2).to_pylist()
        assert [x["error"] is None for x in rows] == [False, True, True, True, False]
        assert "it is no image" in rows[0]["error"] and rows[0]["image_id"] == 9
        assert rows[0]["boxes"] is None and rows[0]["height"] is None
        assert rows[1:4] == detect_items(predictor, good, batch_size=2).to_pylist()

    def test_errors_of_any_file_system(self, predictor, monkeypatch):
        item = Item("a.png", None, "a.png")
        monkeypatch.setattr(detections, "read_items", lambda _: iter([(item, KeyError("denied"))]))
        (row,) = detect_items(predictor, [item]).to_pylist()
        assert "denied" in row["error"]

    def test_no_images(self, predictor):
        assert len(detect_items(predictor, [])) == 0


class TestProgram:
    def test_it_goes_on_where_shards_are_missing(self, predict, shapes, tmp_path):
        outcome = predict("--shard-size", 2, "--output", "all", "--coco", "all.json")
        assert outcome.status == 0, outcome.output
        assert "3 images in 2 files in all, 3 of them" in outcome.output
        assert [x["file_name"] for x in table(tmp_path / "all")] == [
            f"00000{x}.png" for x in (1, 2, 3)
        ]
        shutil.copytree(tmp_path / "all", tmp_path / "part")
        (tmp_path / "part" / "shard-0000001.parquet").unlink()
        outcome = predict("--shard-size", 2, "--output", "part", "--coco", "part.json")
        assert "part has the results of 2 images already" in outcome.output
        assert "1 of them in" in outcome.output
        assert table(tmp_path / "part") == table(tmp_path / "all")
        assert (tmp_path / "part.json").read_text() == (tmp_path / "all.json").read_text()

    def test_results_in_cocos_form(self, predict, shapes, tmp_path):
        assert predict("--coco", "new/results.json", "--confidence-threshold", 0.2).status == 0
        results = json.loads((tmp_path / "new" / "results.json").read_text())
        rows = table(tmp_path / "predictions")
        assert [x["score"] for x in results] == [s for row in rows for s in row["scores"]]
        assert {x["image_id"] for x in results} == {1, 2, 3}
        x1, y1, x2, y2 = rows[0]["boxes"][0]
        assert results[0]["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1])

    def test_files_that_cannot_be_read_are_counted(self, predict, shapes, tmp_path):
        (tmp_path / "list.txt").write_text(f"{shapes}/val/000001.png\nnowhere.png\n")
        outcome = predict(source=tmp_path / "list.txt")
        assert outcome.status == 0
        assert "2 images in 1 files" in outcome.output and "1 could not be read" in outcome.output

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (("--confidence-threshold", 0.5), "another job (confidence_threshold 0.0, not 0.5)"),
            (("--shard-size", 1), "another job (shard_size 256, not 1)"),
            (("--shard-size", 0), "--shard-size 0: should be at least 1"),
            (("--workers", 0), "--workers 0: should be at least 1"),
            (("--confidence-threshold", 2), "scores are from 0 to 1"),
            (("--exported", "x.xml"), "goes with none of"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, predict, args, message):
        assert predict().status == 0
        outcome = predict(*args)
        assert outcome.status == 2 and message in outcome.output

    def test_a_model_that_cannot_be_loaded_leaves_the_folder_free(self, predict, tmp_path):
        outcome = predict("--exported", tmp_path / "gone.xml")
        assert outcome.status == 2
        config = ["model.head.num_convs=3"]  # not that of the weights
        outcome = predict(opts=config)
        assert outcome.status == 2 and "does not fit the model" in outcome.output
        assert predict().status == 0

    def test_a_config_that_was_edited_is_refused(self, predict, detecting_model):
        assert predict().status == 0
        config = detecting_model / "config.yaml"
        content = config.read_text()
        try:
            config.write_text(content.replace("test_nms_thresh: 0.6", "test_nms_thresh: 0.5"))
            assert config.read_text() != content
            outcome = predict()
        finally:
            config.write_text(content)
        assert outcome.status == 2 and "another job (config " in outcome.output

    def test_without_weights(self, predict):
        outcome = predict(opts=["train.init_checkpoint="])
        assert outcome.status == 2
        assert "no trained weights: give their file" in outcome.output

    def test_other_images_are_refused(self, predict, shapes):
        assert predict().status == 0
        outcome = predict(source=shapes / "train")
        assert "predictions has results of another job (other images, 3)" in outcome.output

    def test_folders_of_something_else_are_left_alone(self, predict, tmp_path):
        (tmp_path / "predictions").mkdir()
        (tmp_path / "predictions" / "letter.txt").touch()
        outcome = predict()
        assert outcome.status == 2
        assert "predictions has files of something else, such as letter.txt" in outcome.output


class TestFolder:
    def test_on_another_file_system(self, predictor, shapes):
        items = find_items([str(shapes / "val")])
        job, folder = Job.of(items, 2, {}), ResultFolder("memory://results")
        try:
            assert folder.prepare(job) == [0, 1]
            found = detect_items(predictor, items[2:])
            folder.write(job, 1, found)
            assert folder.prepare(job) == [0]
            assert folder.read(1).equals(found)
            with pytest.raises(FileNotFoundError, match="shard 0 is missing"):
                [*folder.rows()]
        finally:
            fsspec.filesystem("memory").rm("/results", recursive=True)

    def test_damaged_files_are_named(self, tmp_path):
        folder = ResultFolder(str(tmp_path))
        folder.write(Job(1, 1, "", {}), 0, pyarrow.table({}))
        (tmp_path / "shard-0000000.parquet").write_text("damaged")
        with pytest.raises(ValueError, match=r"shard-0000000\.parquet: "):
            folder.read(0)
        (tmp_path / "job.json").write_text("{}")
        with pytest.raises(ValueError, match=r"job\.json: "):
            folder.read_job()


def test_evaluation_of_results_equals_that_of_the_model(predict, detecting_model, shapes, tmp_path):
    assert predict("--output", "found", "--images", shapes / "val", source=shapes / "val.json")
    config = "train_net.py", "--config-file", detecting_model / "config.yaml", "--eval-only"
    weights = f"train.init_checkpoint={detecting_model}/model_final.pth"
    results = []
    for args in ((weights,), ("--predictions", "found")):
        outcome = run_script(
            Command([*map(str, config), *args, "dataloader.test.num_workers=0"]), tmp_path
        )
        assert outcome.status == 0, outcome.output
        file = next(tmp_path.glob("**/coco_instances_results.json"))
        results.append(json.loads(file.read_text()))
        file.unlink()
    assert results[0] == results[1] and len(results[0]) > 30
