"""`tood label-studio`: what it serves, and what it says instead."""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tood_d2.programs import label_studio as program

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def parse(monkeypatch):
    """The arguments of a command line, on any free port."""

    def _parse(*argv):
        monkeypatch.setattr(sys, "argv", ["label-studio", "--port", "0", *map(str, argv)])
        return program.parse_args()

    return _parse


@pytest.fixture
def of_model(detecting_model):
    """Arguments that name the small model."""
    weights = f"train.init_checkpoint={detecting_model / 'model_final.pth'}"
    return ["--config-file", str(detecting_model / "config.yaml"), "--opts", weights]


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Needs Label Studio's package, which keeps its cache in a folder of ours."""
    pytest.importorskip("label_studio_ml")
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))


def test_help_imports_neither_pytorch_nor_label_studio():
    command = [sys.executable, "-X", "importtime", "-m", "tood_d2", "label-studio", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert result.returncode == 0 and "--train-config-file" in result.stdout
    imported = set(re.findall(r"\| +(\w+)$", result.stderr, re.MULTILINE))
    assert "argparse" in imported
    assert not imported & {"detectron2", "flask", "label_studio_ml", "torch"}


def test_it_is_served_to_this_machine_alone_by_default(parse):
    assert parse().host == "127.0.0.1"


def test_wrong_arguments(parse, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for argv, message in (
            (["--port", port], f"port {port} is taken: choose another one with --port"),
            (["--confidence-threshold", 2], "scores are from 0 to 1"),
            (["--exported", "a.onnx", "--config-file", "a.yaml"], "--exported or --onnx goes with"),
        ):
            with pytest.raises(SystemExit):
                parse(*argv)
            assert message in capsys.readouterr().err


def test_what_is_missing_is_named(parse, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "label_studio_ml.api", None)
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    parse("--output", tmp_path)
    with pytest.raises(SystemExit) as stop:
        program.main()
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "label_studio_ml, which is missing" in error
    assert "pip install git+https://github.com/HumanSignal/label-studio-ml-backend.git" in error


def test_what_is_trained(parse, of_model, detecting_model, tmp_path):
    assert program.fine_tuning(parse("--exported", "a.onnx")) is None
    config, weights = of_model[1], of_model[3]
    own = program.fine_tuning(
        parse("--output", tmp_path, "--train-opts", "train.max_iter=9", *of_model)
    )
    assert own.folder == tmp_path
    assert own.arguments == ["--config-file", config, weights, "train.max_iter=9"]
    other = str(ROOT / "configs" / "tood_MobileNetV2_FPN_finetune.py")
    tuning = program.fine_tuning(parse("--train-config-file", other, *of_model))
    assert tuning.arguments == ["--config-file", other]  # which has weights of its own
    with pytest.raises(ValueError, match="train.max_itr"):
        program.fine_tuning(parse("--train-opts", "train.max_itr=9", *of_model))


def test_a_version_is_that_of_what_is_detected(parse, of_model, detecting_model, shapes):
    args = parse("--confidence-threshold", 0, *of_model)
    model = program.load_model(args)
    assert re.fullmatch(r"demo-[0-9a-f]{8}", model.version)
    assert program.load_model(args).version == model.version
    stricter = program.load_model(parse("--confidence-threshold", 0.9, *of_model))
    assert stricter.version != model.version
    image = str(next((shapes / "val").iterdir()))
    found = model.detect(image)
    assert len(found) > 0
    assert len(stricter.detect(image)) == (found.scores >= 0.9).sum()
    # What training left is loaded from its folder alone.
    args = argparse.Namespace(**vars(args) | {"config_file": None, "opts": []})
    trained = program.load_trained(args, detecting_model)
    assert trained.class_names == model.class_names
    assert trained.detect(image).scores.tolist() == found.scores.tolist()


@pytest.mark.slow
def test_it_is_served_until_it_is_ended(served, of_model, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{(port := server.getsockname()[1])}"
    command = [sys.executable, "-m", "tood_d2", "label-studio", "--port", str(port)]
    command += ["--output", str(tmp_path / "out"), *of_model]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            config = '<View><Image name="i" value="$i"/><RectangleLabels name="l" toName="i">'
            config += '<Label value="Circle"/></RectangleLabels></View>'
            body = json.dumps({"project": "1.2", "schema": config}).encode()
            header = {"Content-Type": "application/json"}
            answer = ask(urllib.request.Request(f"{url}/setup", body, header), process)
            assert re.fullmatch(r"demo-[0-9a-f]{8}", answer["model_version"])
        finally:
            process.terminate()
        messages, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert "LABEL_STUDIO_URL is not set: images that were uploaded cannot" in messages
    assert "Traceback" not in messages


def ask(request, process):
    """The answer of a server, as soon as it gives one."""
    for _ in range(120):
        try:
            with urllib.request.urlopen(request) as response:
                return json.load(response)
        except urllib.error.HTTPError:
            raise
        except OSError:
            assert process.poll() is None
            time.sleep(0.5)
    raise AssertionError("no answer")
