"""What the page of app.py does, without a browser."""

import importlib
import json
import re
import socket
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tood_d2.config import load_run
from tood_d2.inference import DensePredictor, TrainedModel, load_detector
from tood_d2.programs.app import find_predictors

ROOT = Path(__file__).resolve().parents[2]
MODEL = "demo/model_final.pth"


@pytest.fixture(scope="module")
def page():
    """The module page.py."""
    pytest.importorskip("gradio")
    return importlib.import_module("tood_d2.programs.page")


@pytest.fixture(scope="module")
def app(page, detecting_model):
    args = Namespace(models=detecting_model.parent, exported=None, config_file=None, trust=[])
    broken = TrainedModel("none.yaml", "").load_run
    return page.App(find_predictors(args) | {"broken": lambda: DensePredictor(broken())})


@pytest.fixture
def open_image(app, shapes):
    """Opens an image of the generated ones by its number, or any file. Returns the session."""

    def _open(image):
        path = shapes / "val" / f"{image:06}.png" if isinstance(image, int) else image
        return app.open_image(MODEL, str(path))[0]

    return _open


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_help_imports_neither_pytorch_nor_gradio():
    command = [sys.executable, "-X", "importtime", str(ROOT / "demo" / "app.py"), "--help"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and "--port" in result.stdout
    imported = set(re.findall(r"\| +(\w+)$", result.stderr, re.MULTILINE))
    assert "argparse" in imported
    assert not imported & {"detectron2", "gradio", "torch"}


class TestCommandLine:
    @pytest.fixture
    def run(self, load_script, monkeypatch, capsys, free_port):
        """Runs app.py until it ends with an error, which is returned."""
        monkeypatch.setattr("tood_d2.cli.logs.setup_logging", lambda: None)

        def _run(*args):
            argv = ["app.py", "--port", str(free_port), *map(str, args)]
            monkeypatch.setattr(sys, "argv", argv)
            with pytest.raises(SystemExit) as stop:
                load_script("demo/app.py").main()
            assert stop.value.code == 2
            return capsys.readouterr().err

        return _run

    def test_a_folder_without_models_is_named(self, run, tmp_path):
        error = run("--models", tmp_path)
        assert f"{tmp_path}: no trained model in it" in error and "make demo" in error

    def test_a_config_that_does_not_exist_is_named(self, run):
        assert "'none.py': no such config file" in run("--config-file", "none.py")

    def test_a_config_needs_weights(self, run, detecting_model):
        error = run("--config-file", detecting_model / "config.yaml")
        assert "train.init_checkpoint" in error

    def test_overrides_need_a_config(self, run):
        assert "--opts needs --config-file" in run("--opts", "train.seed=1")

    def test_exported_models_need_no_config(self, run):
        error = run("--exported", "model.onnx", "--config-file", "a.py")
        assert "--exported goes without --config-file" in error

    def test_only_exported_models_are_taken_for_such(self, run):
        assert "model.pth: an exported model is a file .onnx or" in run("--exported", "model.pth")

    def test_a_port_that_is_taken_is_named_before_models_are_looked_for(self, run, tmp_path):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            error = run("--port", port, "--models", tmp_path)
        assert f"port {port} is taken" in error and "choose another one with --port" in error
        assert "no trained model" not in error

    @pytest.mark.parametrize("args", [("--port", 70_000), ("--host", "no.such.host.invalid")])
    def test_an_address_that_cannot_be_served_is_named(self, run, args):
        assert f"{args[1]}" in run(*args)

    def test_gradio_is_asked_for(self, run, monkeypatch):
        monkeypatch.setitem(sys.modules, "gradio", None)
        assert "Gradio is missing" in run()

    def test_the_model_of_make_demo_comes_first(self, tmp_path):
        for name in ("a", "demo", "z"):
            (tmp_path / name).mkdir()
            for file in ("config.yaml", "model_best.pth", "model_final.pth"):
                (tmp_path / name / file).touch()
        args = Namespace(models=tmp_path, exported=None, config_file=None, trust=[])
        names = list(find_predictors(args))
        assert names[:3] == ["demo/model_final.pth", "a/model_final.pth", "a/model_best.pth"]
        assert len(names) == 6


class TestModels:
    def test_choosing_a_model_resets_the_classes(self, app):
        chosen = app.choose_model(MODEL)
        assert [name for name, _ in chosen.choices] == ["circle", "rectangle", "triangle", "star"]
        assert chosen.value == []

    def test_a_model_that_cannot_be_loaded_leaves_no_result(self, app, shapes):
        assert app.choose_model("broken").choices == []
        for path in (None, str(shapes / "val" / "000001.png")):
            session, levels, message = app.open_image("broken", path)
            assert session is None and levels.choices == []
            assert "No model is loaded. broken cannot be loaded: 'none.yaml'" in message


class TestDetections:
    def test_picture_table_and_files(self, app, open_image, shapes):
        session = open_image(1)
        picture, rows, *files, message = app.show_detections(session, 0.3, 0.6, [])
        assert len(rows) > 10
        assert message == f"Detections in 000001.png: {len(rows)}."
        assert {row[0] for row in rows} <= {"circle", "rectangle", "triangle", "star"}
        assert all(len(row[1]) == 4 and all(isinstance(x, int) for x in row[2:]) for row in rows)
        scores = [float(row[1]) for row in rows]
        assert scores == sorted(scores, reverse=True) and min(scores) >= 0.3
        assert cv2.imread(picture).shape == (480, 640, 3)
        json_file, picture_file = (Path(file.value["path"]) for file in files)
        assert all(file.interactive for file in files)
        assert json_file.name == "000001_detections.json"
        assert picture_file.name == "000001_detections.png"
        results = json.loads(json_file.read_text())
        assert len(results) == len(rows)
        for (name, score, *box), result in zip(rows, results, strict=True):
            assert result["category_name"] == name
            assert result["score"] == pytest.approx(float(score), abs=5.1e-3)
            x, y, width, height = result["bbox"]
            assert [x, y, x + width, y + height] == pytest.approx(box, abs=0.51)

    def test_thresholds_and_classes_do_not_run_the_network(self, app, open_image):
        session = open_image(1)
        num_passes = app.predictor(MODEL).num_passes
        many = app.show_detections(session, 0.3, 0.9, [])[1]
        low, high = float(many[60][1]), float(many[10][1])
        rows = app.show_detections(session, low, 0.9, [])[1]
        for arguments in ((high, 0.9, []), (low, 0.01, []), (low, 0.9, [2])):
            fewer = app.show_detections(session, *arguments)[1]
            assert 0 < len(fewer) < len(rows)
        picture, rows, *_, message = app.show_detections(session, 1, 0.6, [])
        assert picture is not None and rows == []
        assert message == "Nothing found in 000001.png. Lower the score to see more."
        assert app.predictor(MODEL).num_passes == num_passes

    def test_no_image(self, page, app):
        session, _, message = app.open_image(MODEL, None)
        assert session is None and message == page.UPLOAD_HINT
        picture, rows, *files, _ = app.show_detections(None, 0.3, 0.6, [])
        assert picture is None and rows == []
        assert not any(file.interactive for file in files)

    @pytest.mark.parametrize(
        "pixels",
        [
            np.zeros((1, 1, 3), np.uint8),
            np.zeros((5, 900, 4), np.uint8),
            np.full((60, 50, 4), 40_000, np.uint16),
        ],
    )
    def test_odd_images(self, app, open_image, tmp_path, pixels):
        cv2.imwrite(str(tmp_path / "odd.png"), pixels)
        session = open_image(tmp_path / "odd.png")
        assert app.show_detections(session, 0.1, 0.6, [])[0] is not None
        app.mark(session, Click(3, 3))
        assert "p3, row 0, column 0" in app.show_head(session, [], 0, True)[3]

    @pytest.mark.parametrize("kind", ["text", "huge", "empty"])
    def test_a_file_that_is_no_image_is_named(self, app, tmp_path, huge_png, kind):
        content = {"text": b"no image", "huge": huge_png, "empty": b""}[kind]
        (tmp_path / "file.png").write_bytes(content)
        session, levels, message = app.open_image(MODEL, str(tmp_path / "file.png"))
        assert session is None and levels.choices == []
        assert message.startswith("file.png is ")

    @pytest.mark.parametrize("name", ["a\x1b[31m\nb.png", f"{'x' * 251}.png"])
    def test_odd_names_of_files(self, app, open_image, shapes, tmp_path, name):
        (tmp_path / name).write_bytes((shapes / "val" / "000001.png").read_bytes())
        session = open_image(tmp_path / name)
        picture, *_, message = app.show_detections(session, 0.3, 0.6, [])
        assert cv2.imread(picture) is not None
        assert message.isprintable()

    def test_a_model_that_fails_is_told(self, page, app, shapes, monkeypatch):
        def fail(*args):
            raise RuntimeError("out of memory")

        monkeypatch.setattr(page, "ImageAnalysis", fail)
        session, levels, message = app.open_image(MODEL, str(shapes / "val" / "000001.png"))
        assert session is None and levels.choices == []
        assert message.startswith(f"{MODEL} fails on 000001.png: RuntimeError: out of memory")

    def test_a_full_disk_is_told(self, app, open_image, monkeypatch):
        def fail(*args):
            raise OSError(28, "No space left on device")

        session = open_image(1)
        monkeypatch.setattr(session, "save", fail)
        picture, rows, *files, message = app.show_detections(session, 0.3, 0.6, [])
        assert picture is None and rows == [] and not any(file.interactive for file in files)
        assert "000001.png: the server fails: " in message and "No space left" in message


class Click:
    """A click at (x, y)."""

    def __init__(self, x, y):
        self.index = [x, y]


class TestHead:
    def test_pictures_and_text(self, page, app, open_image):
        session = open_image(1)
        *before, hint = app.show_head(session, [], 0, True)
        assert hint == page.CLICK_HINT
        # The network input is 128 x 96, the pictures are 640 x 480: stride 8 is 40 pixels there.
        assert app.mark(session, Click(85, 35)) is session
        *after, text = app.show_head(session, [], 0, True)
        assert text.startswith("p3, row 1, column 2 at (40, 20)")
        for x, y in zip(before, after, strict=True):
            assert x.shape == y.shape == (480, 640, 3)
            assert (x != y).any()
        assert app.show_head(session, [], 1, True)[3].startswith("p4, ")
        assert " for star, " in app.show_head(session, [3], 0, True)[3]

    def test_nothing_is_computed_while_it_is_not_seen(self, app, open_image, monkeypatch):
        session = open_image(1)
        monkeypatch.setattr(session.analysis.head, "look_inside", lambda: pytest.fail("computed"))
        assert len(app.show_head(session, [], 0, False)) == 4

    def test_no_image(self, page, app):
        assert app.mark(None, Click(1, 1)) is None
        assert app.show_head(None, [], None, True) == (None, None, None, page.CLICK_HINT)


@pytest.fixture(scope="module")
def exported(page, detecting_model, tmp_path_factory):
    """The page with a model of ONNX Runtime, and one of OpenVINO that has NMS in it."""
    for module in ("onnx", "onnxruntime", "openvino"):
        pytest.importorskip(module)
    from tood_d2.export.exporting import read_metadata, write_exported
    from tood_d2.export.onnx_export import export_candidates

    weights = str(detecting_model / "model_final.pth")
    run = load_run(str(detecting_model / "config.yaml"), weights=weights)
    model, folder = load_detector(run), tmp_path_factory.mktemp("exported")
    candidates, paths = export_candidates(model), []
    for suffix, has_nms in ((".onnx", False), (".xml", True)):
        paths.append(str(folder / f"model{suffix}"))
        write_exported(candidates, read_metadata(run, model, has_nms=has_nms), paths[-1])
    return page.App(find_predictors(Namespace(exported=paths)))


class TestExportedModels:
    def test_the_same_detections(self, exported, app, open_image, shapes):
        model, thresholds = exported.names[0], (0.02, 0.5, [1, 3])
        session, levels, _ = exported.open_image(model, str(shapes / "val" / "000001.png"))
        assert levels.choices == []
        picture, rows, *_ = exported.show_detections(session, *thresholds)
        expected = app.show_detections(open_image(1), *thresholds)[1]
        assert len(rows) == len(expected) > 5
        for (*names, x1, y1, x2, y2), row in zip(rows, expected, strict=True):
            assert [*names] == row[:2] and row[2:] == pytest.approx([x1, y1, x2, y2], abs=1)
        assert cv2.imread(picture) is not None

    def test_its_own_nms_stays(self, exported, shapes):
        session, *_ = exported.open_image(exported.names[1], str(shapes / "val" / "000001.png"))
        few, some, most = (
            exported.show_detections(session, 0.05, nms_thresh, [])[1]
            for nms_thresh in (0.1, 0.6, 0.9)
        )
        assert 0 < len(few) < len(some) and most == some

    def test_there_is_no_head_to_look_into(self, page, exported, shapes):
        session, *_ = exported.open_image(exported.names[0], str(shapes / "val" / "000001.png"))
        exported.mark(session, Click(3, 3))
        assert exported.show_head(session, [], None, True) == (None, None, None, page.NO_HEAD)

    def test_the_page_can_be_built(self, page, exported):
        assert page.build_page(exported).title == "tood_d2"


def test_users_do_not_mix(app, open_image):
    first, second = open_image(1), open_image(2)
    expected = app.show_detections(first, 0.3, 0.6, [])[1]
    others = app.show_detections(second, 0.3, 0.6, [])[1]
    app.mark(second, Click(300, 300))
    assert others != expected
    picture, rows, *_ = app.show_detections(first, 0.3, 0.6, [])
    assert rows == expected
    assert app.show_head(first, [], 0, True)[3] == app.show_head(None, [], 0, True)[3]
    folder = Path(first.folder.name)
    assert folder != Path(second.folder.name)
    assert Path(picture).parent == folder and folder.exists()
    del first
    assert not folder.exists()


def test_the_page_does_one_thing_at_a_time(page, app):
    blocks = page.build_page(app)
    functions = blocks.fns.values()
    assert len(functions) > 10
    assert {(x.concurrency_id, x.concurrency_limit) for x in functions} == {("all", 1)}
    assert not blocks.analytics_enabled
