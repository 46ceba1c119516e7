"""What the page of app.py does, without a browser."""

import importlib
import json
import re
import socket
import subprocess
import sys
import time
from argparse import Namespace
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest

from tood_d2.config import load_run
from tood_d2.inference import DensePredictor, TrainedModel, load_detector
from tood_d2.inference.drawing import class_color
from tood_d2.inference.video import VideoReader, video_writer
from tood_d2.page.models import Model, choose_examples
from tood_d2.programs.app import find_models

ROOT = Path(__file__).resolve().parents[2]
MODEL = "demo/model_final.pth"
OTHER_NAMES = ["star", "box", "circle", "triangle"]


def arguments(**values):
    """What app.py takes from its command line."""
    defaults = {"exported": None, "config_file": None, "trust": [], "examples": None}
    return Namespace(**defaults | {"host": "127.0.0.1"} | values)


@pytest.fixture(scope="module")
def page():
    """The module app.py of the page."""
    pytest.importorskip("gradio")
    return importlib.import_module("tood_d2.page.app")


@pytest.fixture(scope="module")
def app(page, detecting_model):
    broken = TrainedModel("none.yaml", "").load_run
    models = find_models(arguments(models=detecting_model.parent))
    config, weights = (str(detecting_model / x) for x in ("config.yaml", "model_final.pth"))
    other = load_run(config, weights=weights).with_options(class_names=OTHER_NAMES)
    models["other"] = lambda: Model(DensePredictor(other), [])
    models["broken"] = lambda: Model(DensePredictor(broken()), [])
    return page.App(models)


@pytest.fixture
def open_image(app, shapes):
    """Opens an image of the generated ones by its number, or any file. Returns the session."""

    def _open(image):
        path = shapes / "val" / f"{image:06}.png" if isinstance(image, int) else image
        return app.open_image(MODEL, None, str(path))[0]

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
        names = list(find_models(arguments(models=tmp_path)))
        assert names[:3] == ["demo/model_final.pth", "a/model_final.pth", "a/model_best.pth"]
        assert len(names) == 6


class TestModels:
    def test_choosing_a_model_resets_the_classes(self, app):
        chosen, _ = app.choose_model(MODEL)
        assert [name for name, _ in chosen.choices] == ["circle", "rectangle", "triangle", "star"]
        assert chosen.value == []

    def test_a_model_that_cannot_be_loaded_leaves_no_result(self, app, shapes):
        classes, examples = app.choose_model("broken")
        assert classes.choices == [] and not examples.visible
        for path in (None, str(shapes / "val" / "000001.png")):
            for models in (("broken", None), ("broken", MODEL), (MODEL, "broken")):
                session, levels, message = app.open_image(*models, path)
                assert session is None and levels.choices == []
                assert "No detections: broken cannot be loaded: 'none.yaml'" in message


class TestExamples:
    def test_they_are_the_test_images_of_the_model(self, app, shapes):
        _, gallery = app.choose_model(MODEL)
        assert gallery.visible and len(gallery.value) == 3
        paths, thumbnails = app.examples(MODEL)
        assert paths == [str(shapes / "val" / f"{i:06}.png") for i in (1, 2, 3)]
        assert {x.shape for x in thumbnails} == {(120, 160, 3)}
        assert app.open_example(MODEL, Click(1)) == paths[1]

    def test_the_images_of_a_folder_take_their_place(self, page, detecting_model, shapes):
        args = arguments(models=detecting_model.parent, examples=str(shapes / "train"))
        paths, _ = page.App(find_models(args)).examples(MODEL)
        # 6 of 8, evenly: 0, 1.4, 2.8, 4.2, 5.6, 7.
        assert [Path(x).name for x in paths] == [f"{i:06}.png" for i in (1, 2, 4, 5, 7, 8)]

    def test_a_folder_without_images_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="no image in it"):
            find_models(arguments(examples=str(tmp_path)))

    def test_nobody_else_sees_test_data_unasked(self, page, detecting_model):
        args = arguments(models=detecting_model.parent, host="0.0.0.0")
        assert page.App(find_models(args)).examples(MODEL) == ([], [])

    def test_files_that_cannot_be_read_are_left_out(self, page, shapes, tmp_path, log):
        (tmp_path / "a.png").write_bytes(b"no image")
        good = str(shapes / "val" / "000001.png")
        paths = [str(tmp_path / "a.png"), good, str(tmp_path / "none.png")]
        assert choose_examples(paths)[0] == [good]
        assert "no example: a.png is no image" in log.text
        assert choose_examples([]) == ([], [])


class TestDetections:
    def test_picture_tables_and_files(self, app, open_image):
        session = open_image(1)
        picture, second, counts, table, *files, message = app.show_detections(session, 30, 0.6, [])
        rows = table["data"]
        assert len(rows) > 10 and not second.visible
        assert re.fullmatch(
            rf"{len(rows)} objects in 000001.png: network \d+ ms, with selecting and drawing "
            r"\d+ ms.",
            message,
        )
        assert table["headers"] == ["class", "score", "box"]
        assert {row[0] for row in rows} <= {"circle", "rectangle", "triangle", "star"}
        scores = [row[1] for row in rows]
        assert scores == sorted(scores, reverse=True) and min(scores) >= 30
        assert Counter(row[0] for row in rows) == dict(counts["data"])
        assert cv2.imread(picture.value["path"]).shape == (480, 640, 3)
        json_file, picture_file, report = (Path(file.value["path"]) for file in files)
        assert all(file.interactive for file in files)
        assert json_file.name == "000001_detections.json"
        assert picture_file.name == "000001_detections.png"
        assert report.name == "000001_detections.html"
        results = json.loads(json_file.read_text())
        assert len(results) == len(rows)
        for (name, score, box), result in zip(rows, results, strict=True):
            assert result["category_name"] == name and "model" not in result
            assert 100 * result["score"] == pytest.approx(score, abs=0.51)
            x, y, width, height = result["bbox"]
            corners = [x, y, x + width, y + height]
            assert corners == pytest.approx([*map(int, box.split())], abs=0.51)

    def test_thresholds_and_classes_do_not_run_the_network(self, app, open_image):
        session = open_image(1)
        num_passes = app.load(MODEL).predictor.num_passes
        many = rows_of(app, session, 30, 0.9)
        low, high = many[60][1], many[10][1]
        rows = rows_of(app, session, low, 0.9)
        for arguments in ((high, 0.9, []), (low, 0.01, []), (low, 0.9, [2])):
            assert 0 < len(rows_of(app, session, *arguments)) < len(rows)
        picture, _, counts, table, *_, message = app.show_detections(session, 100, 0.6, [])
        assert picture.value is not None and counts["data"] == table["data"] == []
        assert message.startswith("Nothing found in 000001.png. Lower the score to see more.")
        assert app.load(MODEL).predictor.num_passes == num_passes

    def test_no_image(self, page, app):
        session, _, message = app.open_image(MODEL, None, None)
        assert session is None and message == page.UPLOAD_HINT
        picture, second, counts, table, *files, _ = app.show_detections(None, 30, 0.6, [])
        assert picture is None and not second.visible and counts == table == []
        assert not any(file.interactive for file in files)

    def test_a_row_is_shown_alone(self, app, open_image):
        session = open_image(1)
        row = rows_of(app, session, 30)[2]
        picture, _, message = app.show_row(session, Click(row=row))
        result = session.results[0]
        expected = session.first.draw(result.instances[[2]]).get_image()
        np.testing.assert_array_equal(picture, expected)
        assert message.startswith(f"One {row[0]} of {row[1]}% alone.")
        assert (picture != result.picture).any()

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
        assert app.show_detections(session, 10, 0.6, [])[0].value is not None
        app.mark(session, Click([3, 3]))
        assert "p3, row 0, column 0" in app.show_head(session, [], 0, True)[3]

    @pytest.mark.parametrize("kind", ["text", "huge", "empty"])
    def test_a_file_that_is_no_image_is_named(self, app, tmp_path, huge_png, kind):
        content = {"text": b"no image", "huge": huge_png, "empty": b""}[kind]
        (tmp_path / "file.png").write_bytes(content)
        session, levels, message = app.open_image(MODEL, None, str(tmp_path / "file.png"))
        assert session is None and levels.choices == []
        assert message.startswith("file.png is ")

    @pytest.mark.parametrize("name", ["a\x1b[31m\nb.png", f"{'x' * 251}.png"])
    def test_odd_names_of_files(self, app, open_image, shapes, tmp_path, name):
        (tmp_path / name).write_bytes((shapes / "val" / "000001.png").read_bytes())
        session = open_image(tmp_path / name)
        *_, file, _, message = app.show_detections(session, 30, 0.6, [])
        assert cv2.imread(file.value["path"]) is not None
        assert message.isprintable()

    def test_a_model_that_fails_is_told(self, page, app, shapes, monkeypatch):
        def fail(*args):
            raise RuntimeError("out of memory")

        monkeypatch.setattr(page, "ImageAnalysis", fail)
        session, levels, message = app.open_image(MODEL, None, str(shapes / "val" / "000001.png"))
        assert session is None and levels.choices == []
        assert message.startswith(f"{MODEL} fails on 000001.png: RuntimeError: out of memory")

    def test_a_full_disk_is_told(self, app, open_image, monkeypatch):
        def fail(*args):
            raise OSError(28, "No space left on device")

        session = open_image(1)
        monkeypatch.setattr(session, "save", fail)
        picture, _, _, rows, *files, message = app.show_detections(session, 30, 0.6, [])
        assert picture is None and rows == [] and not any(file.interactive for file in files)
        assert "000001.png: the server fails: " in message and "No space left" in message


class Click:
    """A click at an index, (x, y) in a picture, or on a row of a table."""

    def __init__(self, index=None, row=None):
        self.index, self.row_value = index, row


def rows_of(app, session, score, nms=0.6, classes=()):
    """The detections in the table."""
    return app.show_detections(session, score, nms, [*classes])[3]["data"]


class TestHead:
    def test_pictures_and_text(self, page, app, open_image):
        session = open_image(1)
        *before, hint = app.show_head(session, [], 0, True)
        assert hint == page.CLICK_HINT
        # The network input is 128 x 96, the pictures are 640 x 480: stride 8 is 40 pixels there.
        assert app.mark(session, Click([85, 35])) is session
        *after, text = app.show_head(session, [], 0, True)
        assert text.startswith("p3, row 1, column 2 at (40, 20)")
        for x, y in zip(before, after, strict=True):
            assert x.shape == y.shape == (480, 640, 3)
            assert (x != y).any()
        assert app.show_head(session, [], 1, True)[3].startswith("p4, ")
        assert " for star, " in app.show_head(session, [3], 0, True)[3]

    def test_nothing_is_computed_while_it_is_not_seen(self, app, open_image, monkeypatch):
        session = open_image(1)
        monkeypatch.setattr(session.first.head, "look_inside", lambda: pytest.fail("computed"))
        assert len(app.show_head(session, [], 0, False)) == 4

    def test_no_image(self, page, app):
        assert app.mark(None, Click([1, 1])) is None
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
    return page.App(find_models(arguments(exported=paths)))


class TestExportedModels:
    def test_the_same_detections(self, exported, app, open_image, shapes):
        model, thresholds = exported.names[0], (2, 0.5, [1, 3])
        image = str(shapes / "val" / "000001.png")
        session, levels, _ = exported.open_image(model, None, image)
        assert levels.choices == []
        rows = rows_of(exported, session, *thresholds)
        expected = rows_of(app, open_image(1), *thresholds)
        assert len(rows) == len(expected) > 5
        for (*start, box), (*expected_start, expected_box) in zip(rows, expected, strict=True):
            assert start == expected_start
            corners = [[*map(int, x.split())] for x in (box, expected_box)]
            assert corners[0] == pytest.approx(corners[1], abs=1)

    def test_its_own_nms_stays(self, exported, shapes):
        image = str(shapes / "val" / "000001.png")
        session, *_ = exported.open_image(exported.names[1], None, image)
        few, some, most = (rows_of(exported, session, 5, nms) for nms in (0.1, 0.6, 0.9))
        assert 0 < len(few) < len(some) and most == some

    def test_there_is_no_head_to_look_into(self, page, exported, shapes):
        image = str(shapes / "val" / "000001.png")
        session, *_ = exported.open_image(exported.names[0], None, image)
        exported.mark(session, Click([3, 3]))
        assert exported.show_head(session, [], None, True) == (None, None, None, page.NO_HEAD)

    def test_the_page_can_be_built(self, exported):
        from tood_d2.page.layout import build_page

        assert build_page(exported).title == "tood_d2"


class TestTwoModels:
    """The second one calls "triangle" a "circle", which is another class of the first one."""

    @pytest.fixture
    def pair(self, app, shapes):
        session, *_ = app.open_image(MODEL, "other", str(shapes / "val" / "000001.png"))
        return session

    def test_both_are_shown(self, app, pair):
        first, second, counts, table, *files, message = app.show_detections(pair, 30, 0.6, [])
        assert second.visible and (first.label, second.label) == (f"A: {MODEL}", "B: other")
        rows = [[x for x in table["data"] if x[-1] == letter] for letter in "AB"]
        assert table["headers"][-1] == "by" and len(rows[0]) == len(rows[1]) > 10
        assert counts["headers"] == ["class", "A", "B"]
        for name, *numbers in counts["data"]:
            assert numbers == [sum(x[0] == name for x in part) for part in rows]
        number = len(rows[0])
        lines = message.split("\n")
        assert lines[0] == "000001.png:" and lines[1].startswith(f"A: {number} objects, network ")
        assert lines[2].startswith(f"B: {number} objects, network ")
        results = json.loads(Path(files[0].value["path"]).read_text())
        assert [x["model"] for x in results] == [MODEL] * number + ["other"] * number
        assert cv2.imread(files[1].value["path"]).shape == (480, 1280, 3)

    def test_a_class_has_one_color(self, app, pair):
        *_, table, _, _, _, _ = app.show_detections(pair, 30, 0.6, [])
        colors = {}
        for (name, *_), (style, *_) in zip(
            table["data"], table["metadata"]["styling"], strict=True
        ):
            colors.setdefault(name, set()).add(style)
        assert {*colors} >= {"circle", "box"} and all(len(x) == 1 for x in colors.values())
        assert len({style for (style,) in colors.values()}) == len(colors)
        # The picture has it, too: 0072bd, Detectron2's first colour, is that of the first class.
        assert colors["circle"] == {"border-left: 0.75rem solid #0072bd"}
        assert app.colors.numbers(["circle", "rectangle"]) == [0, 1]
        (circle,) = app.colors.numbers(["circle"])
        with mock.patch("tood_d2.inference.drawing._Visualizer.overlay_instances") as overlay:
            other = pair.results[1]
            other.analysis.draw(other.instances, app.colors.numbers(OTHER_NAMES))
        drawn = overlay.call_args.kwargs["assigned_colors"]
        for cls, color in zip(other.instances.pred_classes, drawn, strict=True):
            assert (OTHER_NAMES[cls] == "circle") == (color == class_color(circle)).all()

    def test_classes_are_chosen_by_name(self, app, pair):
        circles, rectangles = (
            app.show_detections(pair, 40, 0.6, [cls])[3]["data"] for cls in (0, 1)
        )
        assert {(x[0], x[-1]) for x in circles} == {("circle", "A"), ("circle", "B")}
        assert {(x[0], x[-1]) for x in rectangles} == {("rectangle", "A")}  # B does not know it

    def test_a_row_belongs_to_one_model(self, app, pair):
        row = next(x for x in rows_of(app, pair, 30) if x[-1] == "B")
        first, second = pair.results
        pictures = app.show_row(pair, Click(row=[*map(str, row)]))[:2]
        np.testing.assert_array_equal(pictures[0], first.picture)
        assert (pictures[1] != second.picture).any()


class Tags(HTMLParser):
    """Elements and attributes of HTML, and its text."""

    def __init__(self, html):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_report_stands_alone_and_takes_names_as_text(app, shapes, tmp_path):
    odd = '<img src="http://a.invalid/x.png"> ![b](http://b.invalid) {title} & \u202e.png'
    image = tmp_path / odd.replace("/", "_")
    image.write_bytes((shapes / "val" / "000001.png").read_bytes())
    session, *_ = app.open_image(MODEL, None, str(image))
    session.analyses[0] = (odd, session.first)
    with mock.patch.object(session.first.predictor, "class_names", [odd] * 4):
        *_, report, message = app.show_detections(session, 30, 0.6, [])
        number = len(session.results[0].instances)
    tags = Tags(Path(report.value["path"]).read_text())
    sources = [attrs["src"] for tag, attrs in tags.found if tag == "img"]
    assert len(sources) == 1 and sources[0].startswith("data:image/jpeg;base64,")
    assert not any(x in attrs for _, attrs in tags.found for x in ("href", "onerror"))
    assert {tag for tag, _ in tags.found} <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "img"),
        *("div", "table", "tr", "th", "td", "i"),
    }
    assert tags.text.count(odd) == 2 + number  # model, row of the numbers, rows
    assert f"{number} detections; network " in tags.text and "Score at least 30%" in tags.text
    assert "default-src 'none'" in str(tags.found)


class TestVideo:
    @pytest.fixture
    def video(self, shapes, tmp_path):
        """One of 6 frames."""
        path = str(tmp_path / "<b>street.mp4")
        frame = cv2.imread(str(shapes / "val" / "000001.png"))[:, :, ::-1]
        with video_writer(path, frame.shape[:2], 2.0) as write:
            for _ in range(6):
                write(frame)
        return path

    def test_it_is_drawn(self, app, video):
        *steps, (folder, output, table, message) = app.show_video(MODEL, video, 30, 0.6, [])
        assert len(steps) == 6
        assert Path(output).parent == Path(folder.name) and output.endswith("_detections.webm")
        drawn = VideoReader(output)
        assert (drawn.size, drawn.rate, len(drawn)) == ((480, 640), 2, 6)
        assert table["headers"] == ["class", "most in a frame"] and table["data"]
        assert re.fullmatch(r"6 frames of <b>street.mp4: [\d.]+ a second.", message)

    def test_a_long_one_is_cut(self, app, video, monkeypatch):
        monkeypatch.setattr("tood_d2.page.video.MAX_SECONDS", 2)
        *steps, (folder, output, _, message) = app.show_video(MODEL, video, 30, 0.6, [])
        assert len(steps) == len(VideoReader(output)) == 4 and folder.name in output
        assert message.startswith("4 frames of ") and "These are its first" in message

    def test_nothing_found_is_said(self, app, video):
        *_, (_, _, table, message) = app.show_video(MODEL, video, 100, 0.6, [])
        assert table["data"] == [] and "Nothing found." in message

    def test_no_video(self, page, app):
        assert [*app.show_video(MODEL, None, 30, 0.6, [])] == [(None, None, [], page.VIDEO_HINT)]

    @pytest.mark.parametrize(
        "content",
        [b"", b"no video", b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", b"ffconcat version 1.0"],
    )
    def test_files_that_are_no_video_are_named(self, app, tmp_path, content):
        (tmp_path / "a.mp4").write_bytes(content)
        ((*nothing, message),) = app.show_video(MODEL, str(tmp_path / "a.mp4"), 30, 0.6, [])
        assert nothing == [None, None, []]
        assert message.startswith("No detections: a.mp4 is no video, or none of the kinds MP4, ")

    def test_a_damaged_one_is_named(self, app, video):
        Path(video).write_bytes(Path(video).read_bytes()[:400])
        ((*_, message),) = app.show_video(MODEL, video, 30, 0.6, [])
        assert message == "No detections: <b>street.mp4 cannot be read as a video"

    def test_large_frames_are_refused(self, app, video, monkeypatch):
        monkeypatch.setattr("tood_d2.page.video.MAX_SIDE", 300)
        ((*_, message),) = app.show_video(MODEL, video, 30, 0.6, [])
        assert message.endswith("has 320 x 240 pixels: at most 300 a side")

    def test_a_model_that_cannot_be_loaded_is_named(self, app, video):
        ((*_, message),) = app.show_video("broken", video, 30, 0.6, [])
        assert message.startswith("No detections: ") and "'none.yaml'" in message

    def test_stopping_leaves_no_file(self, app, video, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
        (tmp_path / "scratch").mkdir()
        frames = app.show_video(MODEL, video, 30, 0.6, [])
        next(frames)
        assert [*(tmp_path / "scratch").iterdir()]
        frames.close()
        del frames
        assert not [*(tmp_path / "scratch").iterdir()]


def test_users_do_not_mix(app, open_image):
    first, second = open_image(1), open_image(2)
    expected, others = rows_of(app, first, 30), rows_of(app, second, 30)
    app.mark(second, Click([300, 300]))
    assert others != expected
    *_, report, _ = app.show_detections(first, 30, 0.6, [])
    assert rows_of(app, first, 30) == expected
    assert app.show_head(first, [], 0, True)[3] == app.show_head(None, [], 0, True)[3]
    folder = Path(first.folder.name)
    assert folder != Path(second.folder.name)
    assert Path(report.value["path"]).exists() and folder.exists()
    del first
    assert not folder.exists()


def test_the_page_does_one_thing_at_a_time(app):
    from tood_d2.page.layout import build_page

    blocks = build_page(app)
    functions = [x for x in blocks.fns.values() if x.queue]
    assert len(functions) > 10
    # A video lets others in after each frame.
    kinds = Counter((x.concurrency_id, x.concurrency_limit) for x in functions)
    assert {*kinds} == {("all", 1), ("video", 1)} and kinds["video", 1] == 1
    assert not blocks.analytics_enabled


def test_one_call_waits_for_another(app):
    inside = []

    @app.one_at_a_time
    def work():
        inside.append(True)
        assert len(inside) == 1
        time.sleep(0.05)
        inside.pop()
        return True

    with ThreadPoolExecutor(3) as pool:
        assert [x.result() for x in [pool.submit(work) for _ in range(3)]] == [True] * 3
