"""The program `tood serve`: its arguments, its start and its end."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

for package in ("fastapi", "httpx", "prometheus_client", "uvicorn"):
    pytest.importorskip(package)

import httpx  # noqa: E402
from script_runs import own_logging  # noqa: E402
from service_runs import DETECT, wait_until  # noqa: E402

from tood_d2.config import load_run  # noqa: E402
from tood_d2.data.images import read_image  # noqa: E402
from tood_d2.inference import Predictor  # noqa: E402
from tood_d2.programs import serve  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs the program until it fails: what it says on the standard error and output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # restores it
    before = signal.getsignal(signal.SIGTERM)

    def _run(*arguments):
        monkeypatch.setattr(sys, "argv", ["serve", *map(str, arguments)])
        with own_logging(), pytest.raises(SystemExit) as stop:
            serve.main()
        assert stop.value.code == 2
        output, errors = capsys.readouterr()
        return errors.strip().splitlines(), output

    yield _run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def fails(run):
    """The last line on the standard error, which is all of it after argparse's usage."""

    def _fails(*arguments):
        lines = run(*arguments)[0]
        assert len(lines) == 1 or lines[0].startswith("usage: ")
        return lines[-1]

    return _fails


@pytest.fixture
def model(detecting_model):
    """Arguments that name a model."""
    weights = f"train.init_checkpoint={detecting_model}/model_final.pth"
    return ["--config-file", str(detecting_model / "config.yaml"), "--opts", weights]


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--confidence-threshold", "2"], "--confidence-threshold 2.0: scores are from 0 to 1"),
            (["--batch-size", "0"], "--batch-size 0: should be at least 1"),
            (["--batch-wait", "-1"], "--batch-wait -1.0: should be at least 0"),
            (["--batch-wait", "nan"], "--batch-wait nan: should be at least 0"),
            (["--max-megabytes", "0"], "--max-megabytes 0.0: should be above 0"),
            (["--max-queue", "0"], "--max-queue 0: should be above 0"),
            (["--max-wait", "inf"], "--max-wait inf: should be above 0"),
            (["--upload-timeout", "-3"], "--upload-timeout -3.0: should be above 0"),
            (["--max-megapixels", "0"], "--max-megapixels 0.0: should be at least 1"),
            (["--exported", "a.onnx", "--tta"], "--exported or --onnx goes with none of"),
        ],
    )
    def test_wrong_values(self, fails, arguments, message):
        assert message in fails(*arguments)

    @pytest.mark.parametrize("port", [-1, 70_000])
    def test_no_port(self, fails, port):
        assert f"--host 127.0.0.1 --port {port} cannot be served" in fails("--port", port)

    def test_no_host(self, fails):
        assert "--host nowhere.invalid --port 8000 cannot" in fails("--host", "nowhere.invalid")

    def test_a_port_that_is_taken(self, fails):
        """It is noticed before the model, which does not exist."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            message = fails("--port", port, "--exported", "missing.onnx")
        assert message == f"serve: port {port} is taken: choose another one with --port"

    def test_no_model(self, fails):
        assert fails("--port", 0, "--config-file", "no.yaml").startswith("serve: 'no.yaml': no")
        assert "a.pth: an exported model is a file" in fails("--port", 0, "--exported", "a.pth")

    @pytest.mark.parametrize("module", ["fastapi", "uvicorn", "prometheus_client"])
    def test_a_package_that_is_missing(self, fails, monkeypatch, module):
        monkeypatch.setitem(sys.modules, module, None)
        message = fails("--port", 0)
        assert "models are served by FastAPI" in message and "tood_d2[serve]" in message


class TestToken:
    def test_none(self, monkeypatch):
        monkeypatch.delenv(serve.TOKEN, raising=False)
        assert serve.read_token(None) is None

    def test_of_the_environment(self, monkeypatch):
        monkeypatch.setenv(serve.TOKEN, "of-env")
        assert serve.read_token(None) == b"of-env"

    def test_the_file_comes_first(self, monkeypatch, tmp_path):
        monkeypatch.setenv(serve.TOKEN, "of-env")
        (tmp_path / "token").write_text("of-file\n")
        assert serve.read_token(str(tmp_path / "token")) == b"of-file"

    @pytest.mark.parametrize("text", ["", "\n", "two words", "ümlaut", "a\0b"])
    def test_what_is_none(self, fails, tmp_path, text):
        """An empty token would let everybody in."""
        (tmp_path / "token").write_text(text)
        message = fails("--port", 0, "--token-file", "token")
        assert message == "serve: token: a token is one word of ASCII characters"

    def test_an_empty_one_in_the_environment(self, fails, monkeypatch):
        monkeypatch.setenv(serve.TOKEN, "")
        message = f"serve: {serve.TOKEN}: a token is one word of ASCII characters"
        assert fails("--port", 0) == message

    def test_a_file_that_is_missing(self, fails):
        assert "token.txt" in fails("--port", 0, "--token-file", "token.txt")


@pytest.mark.parametrize(
    ("host", "token", "warned"),
    [("0.0.0.0", None, True), ("0.0.0.0", b"x", False), ("127.0.0.1", None, False)],
)
def test_a_warning_if_anybody_can_use_it(run, monkeypatch, host, token, warned):
    monkeypatch.setattr(serve, "read_token", lambda path: token)
    _, output = run("--host", host, "--port", 0, "--exported", "missing.pth")
    assert ("Whoever reaches 0.0.0.0 can use the model" in output) == warned


@pytest.mark.parametrize(("given", "limit"), [([], 40e6), (["--max-megapixels", "300"], 300e6)])
def test_pillows_limit_follows(fails, given, limit):
    """Pillow refuses twice as many pixels as its variable says."""
    fails("--port", 0, "--exported", "a.pth", *given)
    assert limit == 2 * Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("how", "name"),
    [
        (["--exported", "a/street.onnx"], "street"),
        (["--config-file", "output/mine/config.yaml"], "mine"),
        (["--config-file", "configs/tood_R_50_FPN_1x.py"], "tood_R_50_FPN_1x"),
        ([], "tood_R_50_FPN_1x"),
    ],
)
def test_names_of_models(monkeypatch, how, name):
    monkeypatch.setattr(sys, "argv", ["serve", *how])
    assert serve.model_name(serve.parse_args()) == name


def test_from_start_to_end(model, detecting_model, shapes, tmp_path):
    """SIGTERM while images are in work: they are answered, then the program ends with 0."""
    image = shapes / "val" / "000001.png"
    environment = os.environ | {"PYTHONPATH": str(ROOT), serve.TOKEN: "secret"}
    command = [sys.executable, "-m", "tood_d2", "serve", "--port", "0", "--batch-size", "2"]
    process = subprocess.Popen(
        [*command, *model],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line.endswith("/docs tells how to use it. Ctrl+C ends.\n")
        url, headers = line.partition("/docs")[0], {"Authorization": "Bearer secret"}
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            wait_until(lambda: client.get("/readyz").status_code == 200, seconds=120)
            answer = client.post(DETECT, content=image.read_bytes()).json()
            assert client.get("/v1/model", headers={"Authorization": "x"}).status_code == 401
            host, port = url.removeprefix("http://").split(":")
            content = image.read_bytes()
            head = f"POST {DETECT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n"
            head += f"Expect: 100-continue\r\nContent-Length: {len(content)}\r\n\r\n"
            with socket.create_connection((host, int(port)), timeout=60) as connection:
                connection.sendall(head.encode())
                assert connection.recv(1000).startswith(b"HTTP/1.1 100")  # it is in work
                process.send_signal(signal.SIGTERM)
                wait_until(lambda: refuses(client))
                connection.sendall(content)
                assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        assert process.wait(60) == 0
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()
    run = load_run(model[1], weights=str(detecting_model / "model_final.pth"))
    predictor = Predictor(run)
    (expected,) = predictor.detect([read_image(image, "RGB")])
    assert len(answer["detections"]) == (expected.scores >= 0.3).sum() > 0
    first = answer["detections"][0]["box"]
    assert first == pytest.approx(expected.pred_boxes.tensor[0].tolist(), abs=0.01)
    assert answer["model"]["name"] == "demo" and len(answer["model"]["version"]) == 12


def refuses(client) -> bool:
    try:
        client.get("/healthz")
    except httpx.HTTPError:
        return True
    return False
