"""What the page of app.py does, without a browser."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tood_d2.inference import TrainedModel

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script(load_script):
    """The module app.py."""
    pytest.importorskip("gradio")
    return load_script("demo/app.py")


@pytest.fixture
def app(script, detecting_model):
    models = script.find_trained_models(detecting_model.parent)
    configs = {name: model.load_config for name, model in models.items()}
    return script.App(configs | {"broken": TrainedModel("none.yaml", "").load_config})


@pytest.fixture
def warnings(script, monkeypatch):
    """What the user is warned of."""
    found = []
    monkeypatch.setattr(script.gr, "Warning", found.append)
    return found


MODEL = "demo/model_final.pth"


@pytest.fixture
def open_image(app, shapes):
    """Opens an image of the generated ones by its number, or any file. Returns the session."""

    def _open(image):
        path = shapes / "val" / f"{image:06}.png" if isinstance(image, int) else image
        return app.open_image(MODEL, str(path))[0]

    return _open


class TestModels:
    def run(self, script, monkeypatch, capsys, *args):
        monkeypatch.setattr(script, "setup_logger", lambda name: None)
        monkeypatch.setattr(sys, "argv", ["app.py", *map(str, args)])
        status = script.main()
        return status, capsys.readouterr().err

    def test_none(self, script, monkeypatch, capsys, tmp_path):
        status, err = self.run(script, monkeypatch, capsys, "--models", tmp_path)
        assert status == 2
        assert f"{tmp_path}: no trained model in it" in err and "make demo" in err

    def test_no_config(self, script, monkeypatch, capsys):
        status, err = self.run(script, monkeypatch, capsys, "--config-file", "none.py")
        assert status == 2
        assert "'none.py': no such config file" in err

    def test_no_weights(self, script, monkeypatch, capsys, detecting_model):
        config = detecting_model / "config.yaml"
        status, err = self.run(script, monkeypatch, capsys, "--config-file", config)
        assert status == 2
        assert "train.init_checkpoint" in err

    def test_that_of_make_demo_comes_first(self, script, tmp_path):
        for name in ("a", "demo", "z"):
            (tmp_path / name).mkdir()
            for file in ("config.yaml", "model_best.pth", "model_final.pth"):
                (tmp_path / name / file).touch()
        args = script.argparse.Namespace(models=tmp_path, config_file=None)
        names = list(script.find_configs(args))
        assert names[:3] == ["demo/model_final.pth", "a/model_final.pth", "a/model_best.pth"]
        assert len(names) == 6

    def test_without_gradio(self):
        program = "import runpy, sys; sys.modules['gradio'] = None; "
        program += "runpy.run_path('demo/app.py', run_name='__main__')"
        result = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        assert result.returncode == 2
        assert "gradio is missing: make app" in result.stderr
        assert "Traceback" not in result.stderr

    def test_choosing_a_model_resets_the_classes(self, app):
        chosen = app.choose_model(MODEL)
        assert [name for name, _ in chosen.choices] == ["circle", "rectangle", "triangle", "star"]
        assert chosen.value == []

    def test_a_model_that_cannot_be_loaded(self, script, app):
        with pytest.raises(script.gr.Error, match="broken cannot be loaded: 'none.yaml'"):
            app.choose_model("broken")


class TestDetections:
    def test_picture_table_and_files(self, app, open_image, shapes):
        session = open_image(1)
        picture, rows, *files = app.show_detections(session, 0.3, 0.6, [])
        assert len(rows) > 10
        assert {row[0] for row in rows} <= {"circle", "rectangle", "triangle", "star"}
        scores = [row[1] for row in rows]
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
            assert result["score"] == pytest.approx(score, abs=1e-3)
            x, y, width, height = result["bbox"]
            assert [x, y, x + width, y + height] == pytest.approx(box, abs=0.1)

    def test_thresholds_and_classes_do_not_run_the_network(self, app, open_image):
        session = open_image(1)
        num_passes = app.predictor(MODEL).num_passes
        many = app.show_detections(session, 0.3, 0.9, [])[1]
        low, high = many[60][1], many[10][1]
        rows = app.show_detections(session, low, 0.9, [])[1]
        for arguments in ((high, 0.9, []), (low, 0.01, []), (low, 0.9, [2])):
            fewer = app.show_detections(session, *arguments)[1]
            assert 0 < len(fewer) < len(rows)
        assert app.show_detections(session, 1, 0.6, [])[1] == []
        assert app.predictor(MODEL).num_passes == num_passes

    def test_no_image(self, app):
        assert app.open_image(MODEL, None)[0] is None
        picture, rows, *files = app.show_detections(None, 0.3, 0.6, [])
        assert picture is None and rows == []
        assert not any(file.interactive for file in files)

    @pytest.mark.parametrize(
        "pixels",
        [
            np.zeros((1, 1, 3), np.uint8),
            np.zeros((5, 900, 4), np.uint8),
            np.zeros((60, 50), np.uint8),
            np.full((60, 50), 40_000, np.uint16),
            np.full((60, 50, 3), 40_000, np.uint16),
            np.full((60, 50, 4), 40_000, np.uint16),
        ],
    )
    def test_odd_images(self, app, open_image, warnings, tmp_path, pixels):
        cv2.imwrite(str(tmp_path / "odd.png"), pixels)
        session = open_image(tmp_path / "odd.png")
        assert app.show_detections(session, 0.1, 0.6, [])[0] is not None
        app.mark(session, Click(3, 3))
        assert "p3, row 0, column 0" in app.show_head(session, [], 0, True)[3]
        assert warnings == []

    @pytest.mark.parametrize("kind", ["text", "huge", "empty"])
    def test_what_is_no_image(self, app, open_image, warnings, tmp_path, huge_png, kind):
        content = {"text": b"no image", "huge": huge_png, "empty": b""}[kind]
        (tmp_path / "file.png").write_bytes(content)
        assert open_image(tmp_path / "file.png") is None
        assert len(warnings) == 1 and warnings[0].startswith("file.png is ")


class Click:
    """A click at (x, y)."""

    def __init__(self, x, y):
        self.index = [x, y]


class TestHead:
    def test_pictures_and_text(self, script, app, open_image):
        session = open_image(1)
        *before, hint = app.show_head(session, [], 0, True)
        assert hint == script.HINT
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
        monkeypatch.setattr(session.analysis, "look_inside", lambda: pytest.fail("computed"))
        assert len(app.show_head(session, [], 0, False)) == 4

    def test_no_image(self, script, app):
        assert app.mark(None, Click(1, 1)) is None
        assert app.show_head(None, [], None, True) == (None, None, None, script.HINT)


def test_users_do_not_mix(app, open_image):
    first, second = open_image(1), open_image(2)
    expected = app.show_detections(first, 0.3, 0.6, [])[1]
    others = app.show_detections(second, 0.3, 0.6, [])[1]
    app.mark(second, Click(300, 300))
    assert others != expected
    picture, rows, *files = app.show_detections(first, 0.3, 0.6, [])
    assert rows == expected
    assert app.show_head(first, [], 0, True)[3] == app.show_head(None, [], 0, True)[3]
    folder = Path(first.folder.name)
    assert folder != Path(second.folder.name)
    assert Path(picture).parent == folder and folder.exists()
    del first
    assert not folder.exists()


def test_the_page_does_one_thing_at_a_time(script, app):
    page = script.build_page(app)
    functions = page.fns.values()
    assert len(functions) > 10
    assert {(x.concurrency_id, x.concurrency_limit) for x in functions} == {("all", 1)}
    assert not page.analytics_enabled
