"""The page of app.py in Chromium.

dev/screenshot_page.py takes pictures of it, to be looked at.
"""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from detectron2.engine.launch import _find_free_port
from tood_d2.data.images import read_image
from tood_d2.inference.video import video_writer

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
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
TIMEOUT = 60  # seconds
NOWHERE = "http://127.0.0.1:9"
# Browsers take "\\" of an address for "/", which names of files and folders cannot have.
ODD_FILE = f'<img src="{NOWHERE}/file.png"> ![c]({NOWHERE}/c.png)'.replace("/", "\\")
ODD_FOLDER = "odd " + ODD_FILE.replace("file", "folder")
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
def models(detecting_model, tmp_path_factory):
    """A folder with models: one, one whose weights are damaged, and two with odd names."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("demo", "broken", ODD_FOLDER, f"broken {ODD_FOLDER}"):
        (folder / name).mkdir()
        for file in ("config.yaml", "model_final.pth"):
            shutil.copy(detecting_model / file, folder / name)
        if name.startswith("broken"):
            (folder / name / "model_final.pth").write_bytes(b"no weights")
    cfg = OmegaConf.load(detecting_model / "config.yaml")
    cfg.dataset.class_names = ODD_NAMES
    OmegaConf.save(cfg, folder / ODD_FOLDER / "config.yaml")
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
def image(shapes):
    """A generated image."""
    return shapes / "val" / "000002.png"


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

    def _visit(**options):
        users.append(User(browser, server, options))
        return users[-1]

    yield _visit
    for user in users:
        user.page.context.close()
        assert user.foreign_requests == []


class User:
    """Looks at the page in a session of its own."""

    def __init__(self, browser, server, options):
        options = {"viewport": {"width": 1200, "height": 800}, "permissions": ["camera"]} | options
        self.page = browser.new_context(**options).new_page()
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

    def choose_model(self, name, box="model"):
        self.page.locator(f"#{box} input").click()
        self.page.get_by_role("option", name=f"{name}/model_final.pth", exact=True).click()

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

    def wait_for_picture(self, name):
        self.page.wait_for_function(f"document.querySelector('#{name} img')?.naturalWidth > 0")

    def tab(self, name):
        self.page.get_by_role("tab", name=name).click()


def test_detections_and_head_are_shown(visit, server, image, tmp_path):
    runs = server.network_runs()
    user = visit()
    page = user.page

    # An image: picture, tables, files.
    user.upload(image)
    num_rows = user.wait_for_rows(lambda n: n > 1)
    message = user.wait_for_text(f"{num_rows} objects in 000002.png: network ", "message")
    assert re.search(r"network \d+ ms, with selecting and drawing \d+ ms.$", message)
    user.wait_for_picture("picture")
    assert server.network_runs() == runs + 1
    first_row = page.locator("#table [role=row][aria-rowindex='2']").inner_text().split()
    assert re.fullmatch(r"(circle|rectangle|triangle|star) \d\d( \d+){4}", " ".join(first_row))
    number = page.locator("#counts [role=row]", has_text=first_row[0]).inner_text().split()[1]
    assert 0 < int(number) <= num_rows
    for id_, suffix, content in (
        ("json", "json", '"category_name"'),
        ("html", "html", "data:image/jpeg;base64,"),
    ):
        with page.expect_download() as download:
            page.locator(f"#{id_}").click()
        assert download.value.suggested_filename == f"000002_detections.{suffix}"
        assert content in Path(download.value.path()).read_text()

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

    # A click on a row shows it alone, in whatever order the rows are.
    top = page.locator("#table [role=row][aria-rowindex='2'] [role=gridcell]")
    highest = int(top.nth(1).inner_text())
    header = page.locator("#table [role=columnheader]").nth(1)
    header.hover()
    header.get_by_label("Open cell menu").click()
    page.get_by_text("Sort ascending").click()
    user.wait_for(lambda: int(top.nth(1).inner_text()), lambda score: score < highest)
    name, score, _ = top.all_inner_texts()
    top.first.click()
    user.wait_for_text(f"One {name.strip()} of {score.strip()}% alone.", "message")

    # Inside the head: pictures, a click, another level. The network runs for the pictures only.
    user.tab("Inside the head")
    user.wait_for_picture("alignment")
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
    assert server.network_runs() == runs + 2

    # A file that is no image is named, and the page goes on.
    user.tab("Objects")
    (tmp_path / "text.txt").write_text("no image")
    user.upload(tmp_path / "text.txt")
    user.wait_for_text("text.txt is no image, or none of the kinds", "message")
    user.wait_for_rows(lambda n: n == 0)
    user.upload(image)
    user.wait_for_rows(lambda n: n > fewer)
    assert server.network_runs() == runs + 3


def test_an_example_is_seen_by_two_models(visit):
    user = visit()
    page = user.page
    page.locator("#examples button").nth(1).press("Enter")
    user.wait_for_rows(lambda n: n > 1)
    user.wait_for_text("", "message")
    assert " in 000002.png: " in page.locator("#message textarea").input_value()
    user.choose_model(ODD_FOLDER, "second")
    user.wait_for_text("000002.png:\nA: ", "message")
    user.wait_for_picture("second_picture")
    assert page.get_by_text(f"B: {ODD_FOLDER}").is_visible()
    assert page.locator("#counts [role=columnheader]").all_inner_texts() == ["class", "A", "B"]
    user.choose_model(f"broken {ODD_FOLDER}", "second")
    user.wait_for_text("No detections: broken odd <img", "message")
    user.wait_for_rows(lambda n: n == 0)
    assert page.locator("#picture img, #second_picture img").count() == 0


@pytest.mark.slow
def test_a_photo_and_a_video(visit, shapes, tmp_path):
    user = visit()
    page = user.page
    user.tab("Camera")
    page.get_by_text("Click to Access Webcam").click()
    page.get_by_label("capture photo").click()
    user.wait_for(page.locator("#message textarea").input_value, lambda x: " in image.png" in x)

    user.tab("Video")
    frame = read_image(shapes / "val" / "000001.png", "RGB")
    with video_writer(str(tmp_path / "video.mp4"), frame.shape[:2], 5.0) as write:
        for _ in range(5):
            write(frame)
    page.set_input_files("#video input[type=file]", tmp_path / "video.mp4")
    page.locator("#video").get_by_text("video.mp4").wait_for()
    page.get_by_role("button", name="Detect").click()
    user.wait_for_text("5 frames of video.mp4: ", "video_message")
    page.wait_for_function("document.querySelector('#drawn video')?.duration === 1")
    user.tab("Image")
    page.locator("#message").wait_for()


@pytest.mark.slow
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
        first.page.locator("#json").click()
    assert '"000002.png"' in Path(download.value.path()).read_text()


def test_a_model_that_cannot_be_loaded_leaves_no_result(visit, server, image):
    user = visit()
    user.upload(image)
    user.wait_for_rows(lambda n: n > 1)
    no_model = "No detections: broken/model_final.pth cannot be loaded: "
    user.choose_model("broken")
    user.wait_for_text(no_model, "message")
    user.wait_for_rows(lambda n: n == 0)
    assert user.page.locator("#picture img").count() == 0
    before = server.log().count("cannot be loaded")
    user.upload(image.with_name("000003.png"))
    user.wait_for(lambda: server.log().count("cannot be loaded"), lambda n: n == before + 1)
    user.wait_for_text(no_model, "message")
    user.wait_for_rows(lambda n: n == 0)
    user.choose_model("demo")
    user.wait_for_rows(lambda n: n > 1)


def test_odd_names_are_shown_as_text(visit, image):
    """No picture is fetched that a name asks for, see :meth:`User._note`."""
    user = visit()
    page = user.page
    user.choose_model(ODD_FOLDER)
    user.move("score", "Home", 1)
    content = image.read_bytes()
    for name, is_image in ((f"{ODD_FILE}.txt", False), (f"{ODD_FILE}.png", True)):
        for box in ("upload", "video"):
            if box == "video":
                user.tab("Video")
            file = {"name": name, "mimeType": "", "buffer": content if is_image else b"no image"}
            page.set_input_files(f"#{box} input[type=file]", file)
            page.wait_for_timeout(500)
        page.get_by_role("button", name="Detect").click()
        user.wait_for(
            page.locator("#video_message textarea").input_value, lambda x: "is no video" in x
        )
        page.locator("#video").get_by_label("Clear").click()
        user.tab("Image")
    user.wait_for_rows(lambda n: n > 1)
    page.locator("#classes input").click()
    for name in ODD_NAMES:
        assert page.get_by_role("option", name=name, exact=True).count() == 1
    page.keyboard.press("Escape")
    for table in ("table", "counts"):
        cell = page.locator(f"#{table} [role=row][aria-rowindex='2'] [role=gridcell]").first
        assert cell.inner_text().strip() in ODD_NAMES
    page.locator("#table [role=gridcell]").nth(3).click()
    user.wait_for_text("One ", "message")
    user.tab("Inside the head")
    user.wait_for_picture("scores")
    user.click("scores", 0.5, 0.5)
    assert any(f" for {name}, " in user.wait_for_text("p3, row ") for name in ODD_NAMES)
    sources = page.locator("img").evaluate_all("images => images.map(x => x.src)")
    assert sources and all(x.startswith(user.server.url) for x in sources)


def test_the_browser_would_refuse_what_comes_from_elsewhere(visit):
    user = visit()
    refused = user.page.evaluate(
        """url => new Promise(resolve => {
            addEventListener('securitypolicyviolation', event => resolve(event.blockedURI));
            document.body.append(Object.assign(new Image(), {src: url}));
        })""",
        f"{NOWHERE}/a.png",
    )
    assert refused == f"{NOWHERE}/a.png"
    assert user.foreign_requests == [refused]  # asked for, which the other tests would notice
    user.foreign_requests.clear()


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_on_a_phone_nothing_is_cut_off(visit, image, scheme):
    size = {"width": 390, "height": 844}
    user = visit(viewport=size, color_scheme=scheme, has_touch=True)
    page = user.page
    assert page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
    user.upload(image)
    user.wait_for_rows(lambda n: n > 1)
    user.wait_for_picture("picture")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = [page.locator(f"#{x}").bounding_box() for x in ("upload", "picture", "score", "table")]
    assert [x["y"] for x in boxes] == sorted(x["y"] for x in boxes)
    assert all(x["x"] >= 0 and x["x"] + x["width"] <= 390 for x in boxes)
    # The table shows all of its columns.
    table = page.locator("#table [role=grid]")
    assert table.evaluate("x => x.scrollWidth - x.clientWidth") <= 1
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate("document.body.classList.contains('dark')") != (scheme == "dark")


def test_controls_are_reached_and_named_in_their_order(visit):
    page = visit().page
    names = []
    for _ in range(30):
        page.keyboard.press("Tab")
        names.append(
            page.evaluate(
                "(x => x.ariaLabel || x.labels?.[0]?.innerText.trim() || x.innerText.trim())"
                "(document.activeElement)"
            )
        )
    wanted = ["Model", "Compare with", "Image", "Thumbnail 1 of 3"]
    wanted += ["range slider for Score at least, %", "range slider for NMS: IoU"]
    found = [next(i for i, x in enumerate(names) if x.startswith(start)) for start in wanted]
    assert found == sorted(found)
    assert all(names[: found[-1] + 1]), names
