"""The backend answers as Label Studio's package lets it, with a server that plays Label Studio."""

import io
import json
import os
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
import torch
from PIL import Image

from detectron2.structures import Boxes, Instances
from tood_d2.integrations.served_model import ServedModel

pytest.importorskip("label_studio_ml")

TOKEN = "0123456789"
CONFIG = """<View><Image name="img" value="$photo"/>
<RectangleLabels name="box" toName="img"><Label value="Cat"/>
<Label value="pet" predicted_values="dog, hamster"/></RectangleLabels></View>"""


@pytest.fixture(scope="module")
def label_studio(tmp_path_factory):
    """The module; its package keeps a file in the folder that the environment names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_DIR", str(tmp_path_factory.mktemp("cache")))
        from tood_d2.integrations import label_studio
    return label_studio


class FakeLabelStudio(SimpleHTTPRequestHandler):
    """Gives uploads and an export to those who have the token, and public files to all."""

    def do_GET(self):
        url = urlsplit(self.path)
        if not url.path.startswith("/public/"):
            if self.headers["Authorization"] != f"Token {TOKEN}":
                return self.send_error(401)
            if url.path == "/storage-data/uploaded/":
                self.path = "/" + parse_qs(url.query)["filepath"][0]
            elif url.path == "/api/projects/5/export":
                self.server.asked = parse_qs(url.query)
                self.path = "/export.zip"
        super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Label Studio with an image of 40 x 20 pixels, as an upload and at an address."""
    root = tmp_path / "server"
    for folder in ("upload/5", "public"):
        (root / folder).mkdir(parents=True)
        Image.new("RGB", (40, 20)).save(root / folder / "a.png")
    (root / "public" / "broken.png").write_text("no image")
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(FakeLabelStudio, directory=str(root))
    ) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        server.root, server.url = root, f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield server
        server.shutdown()


class Predictor:
    """Finds the same in each image: a cat, a dog below the threshold, a dog and a horse."""

    class_names = ("cat", "dog", "horse")

    def detect(self, images):
        boxes = torch.tensor([[4, 5, 14, 20], [0, 0, 9, 9], [0, 0, 40, 10], [1, 1, 2, 2]])
        found = {"pred_boxes": Boxes(boxes.float()), "scores": torch.tensor([0.75, 0.1, 0.5, 0.9])}
        found["pred_classes"] = torch.tensor([0, 1, 1, 2])
        return [Instances(image.shape[:2], **found) for image in images]


class Tuning:
    """Remembers what is asked of it."""

    busy = False

    def start(self, name, export, use):
        self.name, self.export, self.use = name, export, use
        return None if self.busy else f"runs/{name}_1"


@pytest.fixture
def backend(label_studio):
    """What was made, and its HTTP interface."""
    model = ServedModel(Predictor(), "demo-1", score_thresh=0.3)
    tuning = Tuning()
    app = label_studio.build_app(model, lambda folder: f"the model in {folder}", tuning)
    return SimpleNamespace(http=app.test_client(), tuning=tuning, app=app)


def request(*urls, config=CONFIG):
    tasks = [{"id": i, "data": {"photo": url}} for i, url in enumerate(urls, start=1)]
    return {"tasks": tasks, "project": "5.1700000000", "label_config": config, "params": {}}


def test_a_project_is_set_up(backend):
    answer = backend.http.post("/setup", json={"project": "5.17", "schema": CONFIG})
    assert answer.json == {"model_version": "demo-1"}
    assert backend.http.get("/health").json["status"] == "UP"


def test_a_project_with_other_labels_is_refused(backend):
    config = CONFIG.replace("Cat", "bird").replace('predicted_values="dog, hamster"', "")
    answer = backend.http.post("/setup", json={"project": "5.17", "schema": config})
    assert answer.status_code == 500
    assert "detects cat, dog, horse, but the labels of the project are bird, pet" in answer.text


def test_a_project_without_rectangles_is_refused(backend):
    config = CONFIG.replace("RectangleLabels", "PolygonLabels")
    answer = backend.http.post("/setup", json={"project": "5.17", "schema": config})
    assert answer.status_code == 500 and "No control tag of type RectangleLabels" in answer.text


def test_uploads_and_addresses_are_predicted(backend, server):
    urls = ["/data/upload/5/a.png", f"{server.url}/public/a.png"]
    answers = backend.http.post("/predict", json=request(*urls)).json["results"]
    assert len(answers) == 2
    for answer in answers:
        assert answer["model_version"] == "demo-1"
        assert answer["score"] == 0.625  # mean of 0.75 and 0.5
        cat, pet = answer["result"]
        assert (cat["from_name"], cat["to_name"]) == ("box", "img")
        assert (cat["original_width"], cat["original_height"]) == (40, 20)
        # 4 of 40 pixels, 5 of 20, 10 of 40 and 15 of 20.
        assert [cat["value"][key] for key in ("x", "y", "width", "height")] == [10, 25, 25, 75]
        assert cat["value"]["rectanglelabels"] == ["Cat"] and cat["score"] == 0.75
        assert [pet["value"][key] for key in ("x", "y", "width", "height")] == [0, 0, 100, 50]
        assert pet["value"]["rectanglelabels"] == ["pet"]


def test_tasks_whose_image_cannot_be_had_get_no_prediction(backend, server, caplog):
    urls = [f"{server.url}/public/{name}" for name in ("none.png", "broken.png", "a.png")]
    answers = backend.http.post("/predict", json=request(*urls, None)).json["results"]
    assert [len(x) for x in (answers[0], answers[1], answers[3])] == [0, 0, 0]
    assert len(answers[2]["result"]) == 2
    assert "task 1: no prediction, 404" in caplog.text
    assert "task 2: no prediction" in caplog.text and "it is no image" in caplog.text
    assert "task 4: no prediction, has no 'photo' in its data" in caplog.text


def train(http, action="START_TRAINING"):
    project = {"id": 5, "label_config": CONFIG}
    return http.post("/webhook", json={"action": action, "project": project})


def test_training_starts_when_it_is_asked_for(backend, server):
    assert "not started" in train(backend.http, "ANNOTATION_CREATED").json["result"]["training"]
    assert not hasattr(backend.tuning, "name")
    assert train(backend.http).json["result"]["training"] == "started in runs/project_5_1"
    assert backend.tuning.name == "project_5"
    backend.tuning.busy = True
    assert "another one is under way" in train(backend.http).json["result"]["training"]


def test_the_trained_model_answers_its_project_alone(label_studio, server):
    models = [ServedModel(Predictor(), version, score_thresh=0.3) for version in ("old", "new")]
    tuning = Tuning()
    http = label_studio.build_app(models[0], lambda folder: models[1], tuning).test_client()
    train(http)
    tuning.use("a folder")
    versions = [
        http.post("/setup", json={"project": project, "schema": CONFIG}).json["model_version"]
        for project in ("5.17", "6.17")
    ]
    assert versions == ["new", "old"]


def test_annotations_are_fetched_with_all_images(backend, server, tmp_path):
    names = ["../data/media/upload/5/b.png", "/data/upload/5/a.png"]
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("result.json", json.dumps({"images": images}))
        file.writestr("images/b.png", b"pixels")
    (server.root / "export.zip").write_bytes(content.getvalue())
    train(backend.http)
    (folder := tmp_path / "fetched").mkdir()
    backend.tuning.export(folder)
    assert sorted(os.listdir(folder)) == ["a.png", "images", "result.json"]
    assert (folder / "images" / "b.png").read_bytes() == b"pixels"
    assert (folder / "a.png").read_bytes() == (server.root / "upload/5/a.png").read_bytes()
    asked = {key: value for key, (value,) in server.asked.items()}
    assert asked["export_type"] == "COCO_WITH_IMAGES"
    assert asked["download_all_tasks"].lower() == "false"  # not the unannotated ones


@pytest.mark.parametrize("name", ["LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY"])
def test_training_needs_an_address_and_a_token(backend, server, monkeypatch, name):
    monkeypatch.delenv(name)
    monkeypatch.setattr(backend.app, "testing", True)  # errors come as they are
    with pytest.raises(ValueError, match="have to be set to train"):
        train(backend.http)
    assert not hasattr(backend.tuning, "name")


def test_an_exported_model_is_not_trained(label_studio, server, monkeypatch):
    model = ServedModel(Predictor(), "demo", score_thresh=0.3)
    app = label_studio.build_app(model, lambda folder: None, None)
    monkeypatch.setattr(app, "testing", True)
    with pytest.raises(ValueError, match="name a --train-config-file"):
        train(app.test_client())
