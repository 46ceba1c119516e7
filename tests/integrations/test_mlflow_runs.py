"""Training that is logged by the real MLflow, to SQLite and to a server."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
import torch
from script_runs import ROOT, Command, run

from detectron2.engine.launch import _find_free_port
from detectron2.utils.events import EventStorage
from tood_d2.config import load_run
from tood_d2.engine.hooks.evaluation import StopTraining
from tood_d2.inference import Predictor
from tood_d2.inference.trained_models import find_trained_model
from tood_d2.integrations import mlflow as integration
from tood_d2.integrations.mlflow import MLflowWriter

mlflow = pytest.importorskip("mlflow")
pytest.importorskip("sqlalchemy")

SMALL = str(ROOT / "configs" / "tood_R_18_FPN_small.py")
PATIENCE = 120  # seconds


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """MLflow with a database in the folder of the test, and without patience."""
    monkeypatch.chdir(tmp_path)  # artefacts go to mlruns
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")


@pytest.fixture
def train(tiny_overrides, tmp_path):
    """Runs train_net.py for four iterations, with "out" as the output folder."""

    def _train(*options, flags=()):
        options = [
            "model.test_score_thresh=0.0",
            "train.max_iter=4",
            "train.mlflow_experiment=shapes",
            f"train.output_dir={tmp_path}/out",
            *options,
        ]
        argv = ["train_net.py", *flags, "--config-file", SMALL, *tiny_overrides, *options]
        return run(Command(argv), tmp_path)

    return _train


def build_writer(folder, resume=False, **options):
    overrides = ["train.mlflow_experiment=shapes", f"train.output_dir={folder}"]
    loaded = load_run(SMALL, overrides).with_options(**options)
    return MLflowWriter(loaded, resume=resume)


def run_id_of(folder):
    return (folder / "mlflow_run_id").read_text().strip()


def history(run_id, name):
    return [(x.step, x.value) for x in mlflow.MlflowClient().get_metric_history(run_id, name)]


def end(writer, error):
    """Closes a writer as the trainer does while an exception is on its way."""
    with pytest.raises(type(error)):
        try:
            raise error
        finally:
            writer.close()


@pytest.mark.slow
def test_interrupted_training_goes_on_with_its_run(train, tmp_path):
    """The hours are up after the first step."""
    assert train("train.max_hours=1e-9").status == 0
    run_id = run_id_of(tmp_path / "out")
    assert mlflow.get_run(run_id).info.status == "KILLED"
    assert mlflow.artifacts.list_artifacts(run_id=run_id, artifact_path="model")[0].path == (
        "model/config.yaml"
    )
    assert train(flags=["--resume"]).status == 0
    assert run_id_of(tmp_path / "out") == run_id
    found = mlflow.get_run(run_id)
    assert found.info.status == "FINISHED" and found.info.run_name == "out"
    assert mlflow.get_experiment(found.info.experiment_id).name == "shapes"
    params = found.data.params
    assert params["train.max_iter"] == "4" and params["train.max_hours"] == "1e-09"

    lines = map(json.loads, (tmp_path / "out" / "metrics.json").read_text().splitlines())
    logged = {(x["iteration"], k): v for x in lines for k, v in x.items() if k != "iteration"}
    for name in ("total_loss", "lr", "bbox/AP"):
        expected = [(step, value) for (step, key), value in logged.items() if key == name]
        assert history(run_id, name) == expected != []
    assert [step for step, _ in history(run_id, "total_loss")] == [0, 1, 2, 3]

    folder = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="model")
    predictor = Predictor(find_trained_model(folder).load_run())
    weights = torch.load(tmp_path / "out" / "model_final.pth", weights_only=True)["model"]
    assert predictor.class_names == ["circle", "rectangle", "triangle", "star"]
    assert all(x.equal(weights[name]) for name, x in predictor.model.state_dict().items())

    assert train().status == 0  # another one in the same folder
    assert run_id_of(tmp_path / "out") != run_id


def test_an_unreachable_server_ends_the_program_before_training(train, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{_find_free_port()}")
    outcome = train()
    assert outcome.status == 2 and "Starting training" not in outcome.output
    message = outcome.messages[-1]
    assert "train.mlflow_experiment=shapes: MLflow at http://127.0.0.1:" in message
    assert "refused" in message and "MLFLOW_TRACKING_URI" in message


@pytest.mark.parametrize(
    "error, status",
    [
        (StopTraining(), "FINISHED"),
        (RuntimeError(), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(143), "KILLED"),
    ],
)
@pytest.mark.slow
def test_the_run_ends_as_training_does(tmp_path, error, status):
    writer = build_writer(tmp_path)
    assert mlflow.get_run(run_id_of(tmp_path)).info.status == "RUNNING"
    with EventStorage(7) as storage:
        storage.put_scalar("total_loss", 1.5)
        writer.write()
    end(writer, error)
    assert mlflow.get_run(run_id_of(tmp_path)).info.status == status
    assert history(run_id_of(tmp_path), "total_loss") == [(7, 1.5)]


@pytest.mark.slow
def test_a_run_that_was_deleted_is_replaced(tmp_path, log):
    build_writer(tmp_path).close()
    before = run_id_of(tmp_path)
    mlflow.delete_run(before)
    build_writer(tmp_path, resume=True).close()
    assert run_id_of(tmp_path) != before
    assert f"MLflow has no run {before}" in log.text


@pytest.mark.slow
def test_any_names_and_many_classes(tmp_path):
    names = [f"class {i} (ä/../%)" for i in range(500)]  # more than 6000 characters
    writer = build_writer(tmp_path, class_names=names)
    with EventStorage() as storage:
        storage.put_scalars(**{f"bbox/AP-{names[0]}": 0.5, "bbox/AP": float("nan")})
        writer.write()
    writer.close()
    found = mlflow.get_run(run_id_of(tmp_path)).data
    assert found.params["dataset.class_names"].startswith("['class 0 (ä")
    assert found.metrics["bbox_AP-class 0 _ä_..___"] == 0.5
    assert found.metrics["bbox/AP"] != found.metrics["bbox/AP"]


class Server:
    """`mlflow server` on a database in a folder."""

    def __init__(self, folder):
        port = _find_free_port()
        self.uri, self.log = f"http://127.0.0.1:{port}", folder / "server.log"
        self.argv = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        self.argv += ["--port", str(port), "--backend-store-uri", f"sqlite:///{folder}/server.db"]
        self.argv += ["--artifacts-destination", str(folder / "artifacts")]
        self.process = None

    def start(self):
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                self.argv, stdout=log, stderr=log, start_new_session=True
            )
        for _ in range(PATIENCE):
            try:
                return urllib.request.urlopen(f"{self.uri}/health", timeout=5).read()
            except OSError:
                if self.process.poll() is not None:
                    pytest.skip(f"no MLflow server here: {self.log.read_text()[-300:]}")
                time.sleep(1)
        pytest.fail(self.log.read_text())

    def kill(self):
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path, monkeypatch):
    pytest.importorskip("flask")
    server = Server(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    yield server
    server.kill()


@pytest.mark.slow
def test_a_server_that_fails_for_a_time_gets_all_in_the_end(server, tmp_path, log, monkeypatch):
    monkeypatch.setattr(integration, "MIN_PAUSE", 0)
    server.start()
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "config.yaml").write_text("a: 1\n")
    writer = build_writer(folder)

    def write(value):
        storage.put_scalar("total_loss", value)
        writer._pause_end = min(writer._pause_end, 1e-9)  # as if the pause were over
        writer.write()
        storage.step()

    with EventStorage() as storage:
        write(0.5)
        server.kill()
        write(1.5)
        write(2.5)
        assert log.text.count("training goes on without it") == 1
        server.start()
        write(3.5)
        assert "MLflow works again" in log.text
        assert history(run_id_of(folder), "total_loss") == [(0, 0.5), (1, 1.0), (2, 1.5), (3, 2.0)]
        (folder / "model_final.pth").write_bytes(b"weights")
        writer.close()
        found = mlflow.artifacts.download_artifacts(
            run_id=run_id_of(folder), artifact_path="model", dst_path=str(tmp_path / "found")
        )
        assert sorted(os.listdir(found)) == ["config.yaml", "model_final.pth"]

        writer = build_writer(folder)
        server.kill()
        writer.close()
        assert "is not complete" in log.text
