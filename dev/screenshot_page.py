#!/usr/bin/env python
"""Takes pictures of a running page (`make app`) in Chromium, to be looked at.

%(prog)s http://127.0.0.1:7860/ --output screenshots

They show the page at the widths of a desktop and of a phone, light and dark: as it opens, with an
example, with two models, and inside the head. --docs makes the one picture of the documentation.
"""

import argparse
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

WIDTHS = (1280, 390)  # pixels
DOCS_SIZE = (1280, 1000)
TIMEOUT = 60_000  # milliseconds


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("url", help="of the page")
    add("--output", default="screenshots", help="folder for the pictures (screenshots)")
    add("--image", help="to open (default: the first example)")
    add("--docs", metavar="FILE", help="make only this picture, light and with two models")
    return parser.parse_args()


def wait_for_result(page: Page, start: str = "") -> None:
    """Waits until the message is that of a result."""
    page.wait_for_function(
        "start => { const text = document.querySelector('#message textarea').value;"
        " return text.includes(' ms') && text.startsWith(start); }",
        arg=start,
    )
    page.wait_for_function("document.querySelector('#picture img')?.naturalWidth > 0")
    page.wait_for_timeout(1000)


def open_image(page: Page, image: str | None) -> None:
    if image:
        page.set_input_files("#upload input[type=file]", image)
    else:
        page.locator("#examples button").first.click()
    wait_for_result(page)


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


def main() -> None:
    args = parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )

        def visit(width: int, height: int, scheme: str) -> Page:
            size = {"width": width, "height": height}
            page = browser.new_context(viewport=size, color_scheme=scheme).new_page()
            page.set_default_timeout(TIMEOUT)
            page.goto(args.url)
            page.wait_for_selector("#upload")
            page.wait_for_timeout(1000)
            return page

        if args.docs:
            page = visit(*DOCS_SIZE, "light")
            open_image(page, args.image)
            compare(page)
            page.screenshot(path=args.docs)
            picture = Image.open(args.docs).convert("RGB")
            picture.quantize(128).save(args.docs, optimize=True)
            return
        folder = Path(args.output)
        folder.mkdir(parents=True, exist_ok=True)
        for width in WIDTHS:
            for scheme in ("light", "dark"):
                page = visit(width, 900, scheme)

                def take(name: str, page=page, ending=f"_{width}_{scheme}.png") -> None:
                    page.screenshot(path=folder / f"{name}{ending}", full_page=True)

                take("start")
                open_image(page, args.image)
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
                page.context.close()
        browser.close()
    print(f"Pictures are in {folder}.")


if __name__ == "__main__":
    main()
