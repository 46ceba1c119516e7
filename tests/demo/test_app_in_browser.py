"""The page of app.py in Chromium.

APP_MODELS=output APP_PICTURE=docs/app.png pytest tests/demo/test_app_in_browser.py makes the
README's picture, with the model and the images of `make demo`.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from PIL import Image

from detectron2.engine.launch import _find_free_port

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT = 60  # seconds
NOWHERE = "http://127.0.0.1:9"
ODD_NAMES = [
    f'<img src="{NOWHERE}/a.png" onerror="alert(1)">',
    f"![b]({NOWHERE}/b.png)",
    r"**bold** $\frac{$",
    "<b>{{value}}</b>",
]

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium: install it by apt-get install chromium"
)


class Server:
    """app.py as a process."""

    def __init__(self, models, folder):
        self.log_file, port = folder / "log.txt", _find_free_port()
        self.url = f"http://127.0.0.1:{port}/"
        command = [sys.executable, ROOT / "demo" / "app.py", "--models", models, "--port", port]
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                [*map(str, command)],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                # A shell's background jobs, these tests too, would have it ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def log(self):
        return self.log_file.read_text()

    def network_runs(self):
        return self.log().count("Network run")

    def wait_until_ready(self):
        end = time.monotonic() + TIMEOUT
        while f"Open {self.url}" not in self.log():
            assert self.process.poll() is None and time.monotonic() < end, self.log()
            time.sleep(0.1)


@pytest.fixture(scope="module")
def source(detecting_model):
    """The folder of a model, of `make demo` if it is wanted."""
    return Path(os.environ.get("APP_MODELS", detecting_model.parent)).resolve() / "demo"


@pytest.fixture(scope="module")
def models(source, tmp_path_factory):
    """A folder with a model, one whose weights are damaged, and one with odd class names."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("demo", "broken", "odd"):
        (folder / name).mkdir()
        for file in ("config.yaml", "model_final.pth"):
            shutil.copy(source / file, folder / name)
    (folder / "broken" / "model_final.pth").write_bytes(b"no weights")
    cfg = OmegaConf.load(source / "config.yaml")
    cfg.dataset.class_names = ODD_NAMES
    OmegaConf.save(cfg, folder / "odd" / "config.yaml")
    return folder


@pytest.fixture(scope="module")
def server(models, tmp_path_factory):
    """The running page, which Ctrl+C ends."""
    pytest.importorskip("gradio", reason="needs Gradio: install it by pip install -e '.[app]'")
    server = Server(models, tmp_path_factory.mktemp("server"))
    try:
        server.wait_until_ready()
        yield server
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(TIMEOUT) == 0
        assert "Traceback" not in server.log()
    finally:
        server.process.kill()
        server.process.wait()


@pytest.fixture
def image(source, shapes):
    """A generated image, of `make demo` if it is there."""
    path = source.parent / "shapes" / "val" / "000002.png"
    return path if path.exists() else shapes / "val" / "000002.png"


@pytest.fixture(scope="module")
def browser():
    reason = "needs Playwright: install it by pip install playwright"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(server, browser):
    """Opens the page for a user."""
    users = []

    def _visit():
        users.append(User(browser, server))
        return users[-1]

    yield _visit
    for user in users:
        user.page.context.close()
        assert user.foreign_requests == []


class User:
    """Looks at the page in a session of its own."""

    def __init__(self, browser, server):
        self.page = browser.new_context(viewport={"width": 1200, "height": 800}).new_page()
        self.page.set_default_timeout(1000 * TIMEOUT)
        self.foreign_requests = []
        self.page.on("request", self._note)
        self.page.on("dialog", lambda dialog: self.foreign_requests.append(dialog.message))
        self.server = server
        self.page.goto(server.url)
        self.page.wait_for_selector("#upload")

    def _note(self, request):
        if not request.url.startswith((self.server.url, "data:", "blob:")):
            self.foreign_requests.append(request.url)

    def upload(self, path):
        self.page.set_input_files("#upload input[type=file]", path)

    def choose_model(self, name):
        self.page.locator("#model input").click()
        self.page.get_by_role("option", name=f"{name}/model_final.pth").click()

    def wait_for_rows(self, condition):
        """Waits until the number of the table's rows fulfils a condition; returns it."""
        grid = self.page.locator("#table [role=grid]")
        return self.wait_for(lambda: int(grid.get_attribute("aria-rowcount")) - 1, condition)

    def wait_for_text(self, start, box="text"):
        """Waits until the text in a box, that of a location or "message", starts like that."""
        text = self.page.locator(f"#{box} textarea")
        return self.wait_for(text.input_value, lambda value: value.startswith(start))

    def wait_for(self, value, condition):
        end = time.monotonic() + TIMEOUT
        while not condition(value()):
            assert time.monotonic() < end, (value(), self.server.log())
            self.page.wait_for_timeout(100)
        return value()

    def move(self, slider, key, times):
        self.page.locator(f"#{slider} input[type=range]").focus()
        for _ in range(times):
            self.page.keyboard.press(key)

    def click(self, picture, x, y):
        """Clicks at a place given in parts of a picture's width and height."""
        image = self.page.locator(f"#{picture} img")
        image.hover()  # waits until it no longer moves and nothing covers it
        box = image.bounding_box()
        self.page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])

    def tab(self, name):
        self.page.get_by_role("tab", name=name).click()


def test_detections_and_head_are_shown(visit, server, image, tmp_path):
    runs = server.network_runs()
    user = visit()
    page = user.page

    # An image: picture, table, files.
    user.upload(image)
    num_rows = user.wait_for_rows(lambda n: n > 1)
    user.wait_for_text(f"Detections in 000002.png: {num_rows}.", "message")
    page.wait_for_selector("#picture img")
    assert server.network_runs() == runs + 1
    first_row = page.locator("#table [role=row][aria-rowindex='2']").inner_text().split()
    assert re.fullmatch(r"(circle|rectangle|triangle|star) \d\.\d\d( \d+){4}", " ".join(first_row))
    with page.expect_download() as download:
        page.get_by_text("Download detections as JSON").click()
    assert download.value.suggested_filename == "000002_detections.json"
    assert '"category_name"' in Path(download.value.path()).read_text()
    page.wait_for_function("document.querySelector('#picture img').naturalWidth > 0")
    page.screenshot(path=tmp_path / "app.png")
    if picture := os.environ.get("APP_PICTURE"):
        small = Image.open(tmp_path / "app.png").convert("RGB").resize((900, 600))
        small.save(picture, optimize=True)

    # The sliders do not run the network.
    user.move("score", "ArrowRight", 52)
    fewer = user.wait_for_rows(lambda n: n < num_rows)
    user.move("score", "ArrowLeft", 77)
    user.wait_for_rows(lambda n: n > fewer)
    user.move("score", "End", 1)
    user.wait_for_text("Nothing found in 000002.png", "message")
    user.move("score", "Home", 1)
    user.wait_for_rows(lambda n: n > fewer)
    assert server.network_runs() == runs + 1

    # Inside the head: pictures, a click, another level. The network runs for the pictures only.
    user.tab("Inside the head")
    page.wait_for_function("document.querySelector('#alignment img')?.naturalWidth > 0")
    before = page.locator("#location img").get_attribute("src")
    user.click("location", 0.5, 0.5)
    text = user.wait_for_text("p3, row ")
    x, y = map(int, re.search(r" at \((\d+), (\d+)\): score [\d.]+ for ", text).groups())
    assert abs(x - 160) <= 10 and abs(y - 120) <= 10  # half of 320 x 240, within a cell
    assert "alignment" in text and "left" in text
    assert page.locator("#location img").get_attribute("src") != before
    page.get_by_label("p5").click()
    user.wait_for_text("p5, row ")
    user.click("scores", 0.01, 0.01)
    user.wait_for_text("p5, row 0, column 0 at (0, 0)")
    page.screenshot(path=tmp_path / "head.png")
    assert server.network_runs() == runs + 2

    # A file that is no image is named, and the page goes on.
    user.tab("Detections")
    (tmp_path / "text.png").write_text("no image")
    user.upload(tmp_path / "text.png")
    user.wait_for_text("text.png is no image, or none of the kinds", "message")
    user.wait_for_rows(lambda n: n == 0)
    user.upload(image)
    user.wait_for_rows(lambda n: n > fewer)
    assert server.network_runs() == runs + 3


def test_users_do_not_mix(visit, image):
    first, second = visit(), visit()
    first.upload(image)
    num_rows = first.wait_for_rows(lambda n: n > 1)
    second.wait_for_rows(lambda n: n == 0)
    second.upload(image.with_name("000003.png"))
    second.wait_for_rows(lambda n: n > 0)
    # The first one goes on with the first image.
    first.move("nms", "ArrowRight", 30)
    first.wait_for_rows(lambda n: n >= num_rows)
    with first.page.expect_download() as download:
        first.page.get_by_text("Download detections as JSON").click()
    assert '"000002.png"' in Path(download.value.path()).read_text()


def test_a_model_that_cannot_be_loaded_leaves_no_result(visit, server, image):
    user = visit()
    user.upload(image)
    user.wait_for_rows(lambda n: n > 1)
    no_model = "No model is loaded. broken/model_final.pth cannot be loaded: "
    user.choose_model("broken")
    user.wait_for_text(no_model, "message")
    user.wait_for_rows(lambda n: n == 0)
    assert user.page.locator("#picture img").count() == 0
    user.choose_model("demo")
    user.wait_for_rows(lambda n: n > 1)
    user.choose_model("broken")
    user.wait_for_text(no_model, "message")
    user.upload(image.with_name("000003.png"))
    user.wait_for(lambda: server.log().count("cannot be loaded"), lambda n: n == 3)
    user.wait_for_text(no_model, "message")
    user.wait_for_rows(lambda n: n == 0)


def test_odd_class_names_are_shown_as_text(visit, image, tmp_path):
    user = visit()
    user.choose_model("odd")
    user.move("score", "Home", 1)
    user.upload(image)
    user.wait_for_rows(lambda n: n > 1)
    user.page.locator("#classes input").click()
    for name in ODD_NAMES:
        assert user.page.get_by_role("option", name=name, exact=True).count() == 1
    user.page.keyboard.press("Escape")
    assert (
        user.page.locator("#table [role=row][aria-rowindex='2']")
        .get_by_text(re.compile("|".join(map(re.escape, ODD_NAMES))))
        .count()
    )
    user.page.screenshot(path=tmp_path / "odd.png", full_page=True)
    user.tab("Inside the head")
    user.page.wait_for_function("document.querySelector('#scores img')?.naturalWidth > 0")
    user.click("scores", 0.5, 0.5)
    assert any(f" for {name}, " in user.wait_for_text("p3, row ") for name in ODD_NAMES)
