"""app.py in Chromium: pip install playwright, and Debian's chromium or another one.

APP_MODELS=output APP_PICTURE=docs/app.png pytest -m slow tests/demo/test_app_in_browser.py makes
the README's picture, with the model and the images of `make demo`.
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
from PIL import Image

from detectron2.engine.launch import _find_free_port

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
TIMEOUT = 60  # seconds

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


class Server:
    """app.py as a process."""

    def __init__(self, models, folder):
        self.log_file, port = folder / "log.txt", _find_free_port()
        self.url = f"http://127.0.0.1:{port}/"
        command = [sys.executable, ROOT / "demo" / "app.py", "--models", models, "--port", port]
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                [*map(str, command)], stdout=log, stderr=subprocess.STDOUT, cwd=folder
            )

    def log(self):
        return self.log_file.read_text()

    def network_runs(self):
        return self.log().count("Network run")

    def wait_until_ready(self):
        end = time.monotonic() + TIMEOUT
        while f"Open {self.url}" not in self.log():
            assert self.process.poll() is None and time.monotonic() < end, self.log()
            time.sleep(0.2)


@pytest.fixture(scope="module")
def models(detecting_model):
    return Path(os.environ.get("APP_MODELS", detecting_model.parent)).resolve()


@pytest.fixture
def server(models, tmp_path):
    pytest.importorskip("gradio")
    server = Server(models, tmp_path)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.process.kill()
        server.process.wait()


@pytest.fixture
def image(models, shapes):
    """A generated image, of `make demo` if it is there."""
    path = models / "shapes" / "val" / "000002.png"
    return path if path.exists() else shapes / "val" / "000002.png"


@pytest.fixture
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class User:
    """Looks at the page in a session of its own."""

    def __init__(self, browser, server):
        self.page = browser.new_context(viewport={"width": 1200, "height": 800}).new_page()
        self.page.set_default_timeout(1000 * TIMEOUT)
        self.foreign_requests = []
        self.page.on("request", self._note)
        self.server = server
        self.page.goto(server.url)
        self.page.wait_for_selector("#upload")

    def _note(self, request):
        if not request.url.startswith((self.server.url, "data:", "blob:")):
            self.foreign_requests.append(request.url)

    def upload(self, path):
        if self.page.locator("#upload input[type=file]").count() == 0:
            self.page.get_by_label("Clear").first.click()
        self.page.set_input_files("#upload input[type=file]", path)

    def wait_for_rows(self, condition):
        """Waits until the number of the table's rows fulfils a condition; returns it."""
        return self._wait(lambda: int(self._grid.get_attribute("aria-rowcount")) - 1, condition)

    @property
    def _grid(self):
        return self.page.locator("#table [role=grid]")

    def wait_for_text(self, start):
        """Waits until the description of a location starts like that; returns it."""
        return self._wait(
            lambda: self.page.inner_text("#text"), lambda text: text.startswith(start)
        )

    def _wait(self, value, condition):
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
        box = self.page.locator(f"#{picture} img").bounding_box()
        self.page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])

    def tab(self, name):
        self.page.get_by_role("tab", name=name).click()


def test_a_visit(server, browser, image, tmp_path):
    user = User(browser, server)
    page = user.page

    # An image: picture, table, files.
    user.upload(image)
    num_rows = user.wait_for_rows(lambda n: n > 1)
    page.wait_for_selector("#picture img")
    assert server.network_runs() == 1
    first_row = page.locator("#table [role=row][aria-rowindex='2']").inner_text().split()
    assert first_row[0] in ("circle", "rectangle", "triangle", "star")
    assert all(re.fullmatch(r"[\d.]+", x) for x in first_row[1:]) and len(first_row) == 6
    with page.expect_download() as download:
        page.get_by_text("Detections as JSON").click()
    assert download.value.suggested_filename == "000002_detections.json"
    assert '"category_name"' in Path(download.value.path()).read_text()
    page.wait_for_timeout(500)  # for the picture to be there
    picture = Path(os.environ.get("APP_PICTURE", tmp_path / "app.png"))
    page.screenshot(path=picture)
    Image.open(picture).convert("RGB").resize((900, 600)).save(picture, optimize=True)
    assert 10_000 < picture.stat().st_size < 300_000

    # The sliders do not run the network.
    user.move("score", "ArrowRight", 40)
    fewer = user.wait_for_rows(lambda n: n < num_rows)
    user.move("score", "ArrowLeft", 65)
    user.wait_for_rows(lambda n: n > fewer)
    assert server.network_runs() == 1

    # Inside the head: pictures, a click, another level. The network runs for the pictures only.
    user.tab("Inside the head")
    page.wait_for_selector("#alignment img")
    page.wait_for_timeout(500)  # for the layout to be final
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
    assert server.network_runs() == 2

    # What is no image is refused in words, and the page goes on.
    user.tab("Detections")
    (tmp_path / "text.png").write_text("no image")
    user.upload(tmp_path / "text.png")
    page.get_by_text("text.png is no image, or none of the kinds").wait_for()
    user.wait_for_rows(lambda n: n == 0)
    user.upload(image)
    user.wait_for_rows(lambda n: n > fewer)
    assert server.network_runs() == 3

    assert user.foreign_requests == []
    assert "Traceback" not in server.log()


def test_two_users(server, browser, image):
    first, second = User(browser, server), User(browser, server)
    first.upload(image)
    num_rows = first.wait_for_rows(lambda n: n > 1)
    second.wait_for_rows(lambda n: n == 0)
    second.upload(image.with_name("000003.png"))
    second.wait_for_rows(lambda n: n > 1)
    # The first one goes on with the first image.
    first.move("nms", "ArrowRight", 30)
    first.wait_for_rows(lambda n: n >= num_rows)
    with first.page.expect_download() as download:
        first.page.get_by_text("Detections as JSON").click()
    assert '"000002.png"' in Path(download.value.path()).read_text()
    assert server.network_runs() == 2


def test_the_port_is_taken(server, models):
    port = server.url.rstrip("/").rpartition(":")[2]
    command = [sys.executable, ROOT / "demo" / "app.py", "--models", models, "--port", port]
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=TIMEOUT)
    assert result.returncode == 2
    assert "app.py: " in result.stderr and port in result.stderr
    assert "Traceback" not in result.stderr


def test_ctrl_c_ends_it(server):
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(TIMEOUT) == 0
    assert "Traceback" not in server.log()
