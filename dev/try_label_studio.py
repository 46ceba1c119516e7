#!/usr/bin/env python
"""Goes the way of a user of Label Studio with a real server, and checks each step.

try_label_studio.py label-studio --config-file output/mine/config.yaml --images images/ \\
    --opts train.init_checkpoint=output/mine/model_final.pth

The server, an executable of `pip install label-studio` in an environment of its own, and our
backend are started on free ports with all their files in one folder. Images are imported and
pre-labelled, predictions are accepted, the annotations exported and trained on, and the model that
the backend trains takes over. Both are ended at the end.
"""

import argparse
import contextlib
import itertools
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.sax.saxutils import quoteattr

import requests

from tood_d2.cli.arguments import add_config_arguments
from tood_d2.cli.messages import short_errors
from tood_d2.config import load_run
from tood_d2.inference.image_files import find_images
from tood_d2.integrations.fine_tuning import training_overrides

NUM_IMAGES = 10
NUM_ACCEPTED = 4  # fewer cannot be split into training and test data
PATIENCE = 600  # seconds, for a start or a short training
USER = {"username": "user@example.com", "password": secrets.token_hex(8)}


class Server(requests.Session):
    """Label Studio's HTTP interface."""

    def __init__(self, url: str, token: str):
        super().__init__()
        self.url = url
        self.headers["Authorization"] = f"Token {token}"

    def request(self, method: str, path: str, **kwargs) -> requests.Response:
        """As requests', from a path on; a refusal is a ValueError."""
        response = super().request(method, self.url + path, **kwargs)
        if not response.ok:
            raise ValueError(f"{method} {path}: {response.status_code}, {response.text[:500]}")
        return response


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for(what: str, found: Callable[[], object]) -> object:
    """Calls a function every second until it gives something."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(requests.ConnectionError):
            if result := found():
                return result
        time.sleep(1)
    raise TimeoutError(f"{what}: not within {PATIENCE} seconds")


@contextlib.contextmanager
def started(
    command: list[str], environment: dict[str, str], url: str, log: Path, path: str = "/health"
) -> Iterator[None]:
    """A server, once it answers at a path; its output goes to a file. It is ended at the end."""
    with open(log, "w") as output:
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:

        def answers() -> bool:
            if process.poll() is not None:
                raise ChildProcessError(f"{command[0]} has ended: {log.read_text()[-1000:]}")
            return requests.get(url + path).ok

        wait_for(command[0], answers)
        yield
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def label_studio(executable: str, folder: Path) -> Iterator[Server]:
    """A server with an empty data base in a folder."""
    port, token = free_port(), secrets.token_hex(20)
    options = USER | {"user-token": token, "data-dir": str(folder), "port": str(port)}
    options |= {"internal-host": "127.0.0.1"}
    command = [executable, "start", "--no-browser", "--enable-legacy-api-token"]
    command += [x for key, value in options.items() for x in (f"--{key}", value)]
    # Since 1.23 it refuses backends on its own machine by default.
    environment = {"USE_DEFAULT_BANNED_SUBNETS": "false", "COLLECT_ANALYTICS": "false"}
    environment["HOME"] = str(folder)  # where the user has settings
    folder.mkdir()
    url = f"http://127.0.0.1:{port}"
    with started(command, environment, url, folder / "server.log"):
        yield Server(url, token)


@contextlib.contextmanager
def backend(args: argparse.Namespace, server: Server, folder: Path) -> Iterator[str]:
    """Our backend, which logs in by a token as users make it on their account's page."""
    port = free_port()
    command = [sys.executable, "-m", "tood_d2", "label-studio", "--port", str(port)]
    run = load_run(args.config_file, args.opts, args.trust)
    command += ["--output", str(folder), "--train-opts", f"{run.key('max_iter')}=2"]
    command += ["--config-file", args.config_file, "--opts", *args.opts]
    token = server.post("/api/token/").json()["token"]
    environment = {"LABEL_STUDIO_URL": server.url, "LABEL_STUDIO_API_KEY": token}
    # Downloads are cached in the home folder.
    environment |= {"XDG_CACHE_HOME": str(folder)}
    url = f"http://127.0.0.1:{port}"
    folder.mkdir()
    with started(command, environment, url, folder / "backend.log"):
        yield url


def create_project(server: Server, classes: list[str]) -> int:
    labels = "".join(f"<Label value={quoteattr(name)}/>" for name in classes)
    tags = f'<RectangleLabels name="label" toName="image">{labels}</RectangleLabels>'
    config = f'<View><Image name="image" value="$image"/>{tags}</View>'
    return server.post("/api/projects", json={"title": "Try", "label_config": config}).json()["id"]


def import_images(server: Server, project: int, paths: list[str]) -> None:
    with contextlib.ExitStack() as stack:
        # The last name is one that Label Studio's own export stumbles over.
        names = [*map(os.path.basename, paths[:-1]), "Bild für Zoë.jpg"]
        opened = [stack.enter_context(open(path, "rb")) for path in paths]
        files = {str(i): x for i, x in enumerate(zip(names, opened, strict=True))}
        answer = server.post(f"/api/projects/{project}/import", files=files).json()
    assert answer["task_count"] == len(paths), answer


def connect(server: Server, project: int, url: str) -> int:
    """Makes the backend known to a project."""
    answer = server.post("/api/ml", json={"project": project, "url": url, "title": "tood_d2"})
    assert answer.json()["readable_state"] == "Connected", answer.text
    return answer.json()["id"]


def ask_for_predictions(server: Server, project: int) -> list[dict]:
    """The newest prediction of each task, in their order."""
    action = {"id": "retrieve_tasks_predictions", "project": project}
    items = {"selectedItems": {"all": True, "excluded": []}, "project": project}
    server.post("/api/dm/actions", params=action, json=items)
    predictions = server.get("/api/predictions", params={"project": project}).json()
    newest = {x["task"]: x for x in sorted(predictions, key=lambda x: x["id"])}
    return [newest[task] for task in sorted(newest)]


def check_predictions(predictions: list[dict], classes: list[str]) -> None:
    assert len(predictions) == NUM_IMAGES, f"{len(predictions)} predictions"
    results = [*itertools.chain(*(x["result"] for x in predictions))]
    assert results, "nothing was detected"
    for result in results:
        value = result["value"]
        assert value["rectanglelabels"][0] in classes and 0 < result["score"] <= 1, result
        for start, length in (("x", "width"), ("y", "height")):
            assert value[start] >= 0 and value[start] + value[length] <= 100.001, result


def take_picture(server: Server, project: int, task: int, path: str) -> None:
    """Saves what a user sees of a task."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        how = {"executable_path": shutil.which("chromium"), "args": ["--no-sandbox"]}
        page = playwright.chromium.launch(**how).new_page(viewport={"width": 1280, "height": 720})
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(f"{server.url}/user/login/")
        page.fill("input[name=email]", USER["username"])
        page.fill("input[name=password]", USER["password"])
        page.press("input[name=password]", "Enter")
        page.wait_for_function("!location.pathname.includes('login')")
        page.goto(f"{server.url}/projects/{project}/data?task={task}")
        page.wait_for_selector("canvas")
        page.wait_for_timeout(3000)  # the picture is drawn without a sign
        page.screenshot(path=path, type="jpeg", quality=80)


def accept(server: Server, predictions: list[dict]) -> int:
    """Makes predictions annotations. Returns the number of their boxes."""
    for prediction in predictions:
        annotation = {"result": prediction["result"], "parent_prediction": prediction["id"]}
        server.post(f"/api/tasks/{prediction['task']}/annotations", json=annotation)
    return sum(len(x["result"]) for x in predictions)


def export(server: Server, project: int, folder: Path) -> None:
    """Unpacks the annotations in COCO's form and the images."""
    form = {"exportType": "COCO_WITH_IMAGES"}
    archive = folder.with_suffix(".zip")
    archive.write_bytes(server.get(f"/api/projects/{project}/export", params=form).content)
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)


def tood(*arguments: object) -> str:
    """Calls `tood` and returns what it prints."""
    command = [sys.executable, "-m", "tood_d2", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise ChildProcessError(f"tood {arguments[0]}: {done.stdout[-2000:]}")
    return done.stdout


def train(args: argparse.Namespace, export: Path, output: Path) -> None:
    """Trains two iterations on an export."""
    run = load_run(args.config_file, args.opts, args.trust)
    overrides = training_overrides(run, export, output)
    overrides += [f"{run.key('max_iter')}=2", f"{run.key('eval_period')}=0"]
    tood("train", "--config-file", args.config_file, *args.opts, *overrides)
    assert (output / "model_final.pth").is_file()


def let_backend_train(server: Server, project: int, ml: int, version: str) -> list[dict]:
    """Starts a training as the button of Label Studio does; waits for the new model's predictions.

    Args:
        version: of the model until now.
    """
    server.post(f"/api/ml/{ml}/train", json={})

    def new_predictions() -> list[dict]:
        predictions = ask_for_predictions(server, project)
        return predictions if predictions[0]["model_version"] != version else []

    return wait_for("the model that was trained", new_predictions)


def try_all(args: argparse.Namespace, folder: Path) -> None:
    classes = load_run(args.config_file, args.opts, args.trust).class_names
    paths = find_images([args.images])[:NUM_IMAGES]
    with (
        label_studio(args.label_studio, folder / "server") as server,
        backend(args, server, folder / "backend") as url,
    ):
        print(f"Label Studio {server.get('/api/version').json()['release']} and the backend run")
        project = create_project(server, classes)
        import_images(server, project, paths)
        ml = connect(server, project, url)
        predictions = ask_for_predictions(server, project)
        check_predictions(predictions, classes)
        version = predictions[0]["model_version"]
        print(f"{len(predictions)} images were pre-labelled by {version}")
        if args.picture:
            take_picture(server, project, predictions[0]["task"], args.picture)
        num_boxes = accept(server, predictions[:NUM_ACCEPTED])
        export(server, project, folder / "export")
        report = tood("data", "check", folder / "export" / "result.json", folder / "export")
        assert f"{NUM_ACCEPTED} images, {num_boxes} boxes" in report, report
        print(f"{num_boxes} boxes were accepted, exported and checked")
        train(args, folder / "export", folder / "trained")
        print("the export was trained on")
        accept(server, predictions[-1:])
        predictions = let_backend_train(server, project, ml, version)
        check_predictions(predictions, classes)
        print(f"the backend has trained {predictions[0]['model_version']}, which answers")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("label_studio", help="executable of the server")
    parser.add_argument("--images", required=True, metavar="FOLDER", help="with at least 10 images")
    parser.add_argument("--keep", metavar="FOLDER", help="new folder for all files, to be kept")
    parser.add_argument("--picture", metavar="FILE", help="for a task as users see it, a JPEG file")
    add_config_arguments(parser, help="config of a trained model", required=True)
    args = parser.parse_args()
    with short_errors(parser.prog), contextlib.ExitStack() as stack:
        if args.keep:
            os.makedirs(args.keep)
        folder = args.keep or stack.enter_context(TemporaryDirectory(prefix="label-studio-"))
        try_all(args, Path(folder).resolve())


if __name__ == "__main__":
    main()
