#!/usr/bin/env python
"""Takes pictures of a running page (`make app`) in Chromium, to be looked at.

%(prog)s http://127.0.0.1:7860/ --output screenshots

They show the page at the widths of a desktop and of a phone, light and dark: as it opens, with an
example, with two models, inside the head, and for a video. `--docs docs/app.png` makes the picture
of the documentation, with the model of `make demo`.
"""

import argparse
import itertools
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

WIDTHS = (1280, 390)  # pixels
WINDOW, DOCS_SIZE = (1280, 1024), (900, 720)
TIMEOUT = 60_000  # milliseconds


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("url", help="of the page")
    add("--output", default="screenshots", help="folder for the pictures (screenshots)")
    add("--image", help="to open (default: the first example)")
    add("--docs", metavar="FILE", help="make only this picture, light")
    return parser.parse_args()


def open_image(page: Page, image: str | None) -> None:
    """Opens an image file, or the first example, and waits until it is shown."""
    if image:
        page.set_input_files("#upload input[type=file]", image)
    else:
        page.locator("#examples button").first.click()
    page.wait_for_function("document.querySelector('#picture img')?.naturalWidth > 0")
    page.wait_for_timeout(1000)


def compare(page: Page) -> bool:
    """Compares with the second model, if there is one."""
    page.locator("#second input").click()
    options = page.get_by_role("option")
    is_pair = options.count() > 2
    options.nth(2 if is_pair else 0).click()
    if is_pair:
        page.wait_for_selector("#second_picture img")
        page.wait_for_timeout(1000)
    return is_pair


def visit(browser: Browser, url: str, size: tuple[int, int], scheme: str) -> Page:
    viewport = {"width": size[0], "height": size[1]}
    page = browser.new_context(viewport=viewport, color_scheme=scheme).new_page()
    page.set_default_timeout(TIMEOUT)
    page.goto(url)
    page.wait_for_selector("#upload")
    page.wait_for_timeout(1000)
    return page


def take_picture(page: Page, image: str | None, path: str) -> None:
    """Takes the picture of the documentation."""
    open_image(page, image)
    page.screenshot(path=path)
    picture = Image.open(path).convert("RGB")
    picture.resize(DOCS_SIZE, Image.Resampling.LANCZOS).save(path, optimize=True)


def take_pictures(page: Page, image: str | None, folder: Path, ending: str) -> None:
    """Takes pictures of all that the page shows."""

    def take(name: str) -> None:
        page.screenshot(path=folder / f"{name}{ending}.png", full_page=True)

    take("start")
    open_image(page, image)
    take("result")
    page.get_by_role("tab", name="Inside the head").click()
    page.wait_for_function("document.querySelector('#scores img')?.naturalWidth > 0")
    page.wait_for_timeout(1000)
    take("head")
    page.get_by_role("tab", name="Objects").click()
    if compare(page):
        take("pair")
    page.get_by_role("tab", name="Video").click()
    page.wait_for_timeout(500)
    take("video")


def main() -> None:
    args = parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        if args.docs:
            take_picture(visit(browser, args.url, WINDOW, "light"), args.image, args.docs)
            return
        folder = Path(args.output)
        folder.mkdir(parents=True, exist_ok=True)
        for width, scheme in itertools.product(WIDTHS, ("light", "dark")):
            page = visit(browser, args.url, (width, 900), scheme)
            take_pictures(page, args.image, folder, f"_{width}_{scheme}")
            page.context.close()
    print(f"Pictures are in {folder}.")


if __name__ == "__main__":
    main()
