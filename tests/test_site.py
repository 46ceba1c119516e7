"""The site of the documents builds without a warning and needs nothing from elsewhere."""

import importlib.util
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "llms.txt"
NEEDED = ("furo", "myst_parser", "sphinx", "sphinx_copybutton")
ENTRY = re.compile(r"^- \[[^]]+\]\(([^)]+)\): \S.+$")


class Page(HTMLParser):
    """What an HTML file refers to: ``links`` of the reader and ``loads`` of the browser."""

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.loads, self.anchors = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors.add(attrs.get("id"))
        if tag == "a":
            self.links.append(attrs.get("href"))
        elif tag == "link":
            self.loads.append(attrs.get("href"))
        self.loads.append(attrs.get("src"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        pytest.skip(f"needs {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("site")
    options = ["--fail-on-warning", "--keep-going", "--quiet", "--doctree-dir", f"{folder}/trees"]
    command = [sys.executable, "-m", "sphinx", *options, "-c", "docs", ".", f"{folder}/html"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html")}


def is_elsewhere(link):
    return re.match(r"[a-z]+:|//", link) is not None


def test_nothing_is_loaded_from_elsewhere(site, pages):
    loads = [link for page in pages.values() for link in page.loads if link]
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    loads += [link for text in styles for link in re.findall(r"url\([\"']?([^)\"']+)", text)]
    assert len(loads) > 100
    assert {link for link in loads if is_elsewhere(link) and not link.startswith("data:")} == set()


def test_all_links_lead_somewhere(site, pages):
    dead = set()
    for path, page in pages.items():
        for link in filter(None, page.links + page.loads):
            if is_elsewhere(link):
                continue
            file, anchor = urldefrag(link)
            target = (path.parent / unquote(file).partition("?")[0]).resolve() if file else path
            known = pages[target].anchors if target in pages else {anchor}
            if not target.is_file() or (anchor and unquote(anchor) not in known):
                dead.add((path.relative_to(site).as_posix(), link))
    assert dead == set()


def test_the_first_page_is_the_readme_and_leads_to_all_listed_pages(site, pages):
    first = pages[site / "index.html"]
    assert "install" in first.anchors
    listed = [Path(line).with_suffix(".html").as_posix() for line in entries()]
    assert {*listed} - {"README.html"} <= {*first.links}


def test_texts_for_language_models_are_on_the_site(site):
    assert (site / "llms.txt").read_text() == LIST.read_text()
    assert all((site / path).is_file() for path in entries())
    assert "# Speed and memory" in (site / "llms-full.txt").read_text()


def test_docstrings_are_shown_with_their_shapes_and_links(site):
    text = (site / "docs" / "api" / "modeling.html").read_text(encoding="utf-8")
    assert 'id="tood_d2.modeling.TaskAlignedHead.forward"' in text
    assert "L maps (N, K, Hi, Wi), float32" in text
    assert ":class:" not in text and ":func:" not in text


def test_the_reference_has_all_public_names(pages):
    anchors = {anchor for page in pages.values() for anchor in page.anchors if anchor}
    described = {anchor.rpartition(".")[2] for anchor in anchors}
    sources = [path.read_text() for path in ROOT.glob("docs/api/*.rst")]
    names = [name for text in sources for name in re.findall(r"automodule:: (\S+)", text)]
    modules = [importlib.import_module(name) for name in names]
    public = {name for module in modules for name in getattr(module, "__all__", ())}
    assert {"TOOD", "Predictor", "load_run", "register_coco_json"} <= public
    assert public - described == {"CONFIG_FOLDER"}


def entries():
    """The paths that llms.txt lists."""
    return [match[1] for line in LIST.read_text().splitlines() if (match := ENTRY.match(line))]


def test_llms_txt_has_the_form_of_its_kind():
    """Of llmstxt.org: a title, a summary in a quotation, then sections of links."""
    title, summary, *sections = LIST.read_text(encoding="utf-8").strip().split("\n\n")
    assert title == "# tood_d2"
    assert all(line.startswith("> ") for line in summary.splitlines())
    headings, lists = sections[::2], sections[1::2]
    assert all(heading.startswith("## ") for heading in headings)
    lines = [line for lines in lists for line in lines.splitlines()]
    assert [line for line in lines if not ENTRY.match(line)] == []


def test_llms_txt_lists_each_page_once():
    documents = [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/api/*.rst")]
    documents += [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    expected = {path.relative_to(ROOT).as_posix() for path in documents}
    counts = Counter(entries())
    missing = "".join(f"\n- [Title]({path}): what is there" for path in expected - {*counts})
    assert not missing, f"llms.txt lacks lines, which are the site's navigation, too:{missing}"
    assert counts == Counter(expected), "llms.txt has lines twice, or of files that are gone"
