"""The site of the documents: ``make docs``.

The sources' folder is the repository itself, so pages and links are the same here and where the
repository is browsed. ``llms.txt`` lists the pages, of which the navigation is made.
"""

import re
import shutil
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

from tood_d2 import __version__

ROOT = Path(__file__).resolve().parents[1]
LIST = (ROOT / "llms.txt").read_text(encoding="utf-8")
PAGE = re.compile(r"^- \[(.+?)\]\((.+?)\)", re.MULTILINE)
RESULT = re.compile(r" {4}([\w`][\w`, ]*): ")

project = "tood_d2"
release = __version__
root_doc = "README"
include_patterns = [path for _, path in PAGE.findall(LIST)]
exclude_patterns = [".*", "build", "datasets", "dist", "output"]  # not to be searched for pages
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]

myst_heading_anchors = 4
autoclass_content = "both"
autodoc_default_options = {"members": True, "special-members": "__call__"}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
add_module_names = False
maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"tood_d2 {release}"
html_show_copyright = False
html_theme_options = {"top_of_page_buttons": []}
html_static_path = ["site.css"]
html_css_files = ["site.css"]


def add_navigation(app: Sphinx, docname: str, content: list[str]) -> None:
    """Lets the first page lead to all others, in the sections of ``llms.txt``."""
    if docname != root_doc:
        return
    for section in LIST.split("\n## ")[1:]:
        options = ["```{toctree}", ":hidden:", f":caption: {section.splitlines()[0]}", ""]
        pages = [(title, path.rpartition(".")[0]) for title, path in PAGE.findall(section)]
        lines = [f"{title} <{'self' if page == root_doc else page}>" for title, page in pages]
        content[0] += "\n".join(["\n", *options, *lines, "```"])


def separate_results(app, what, name, obj, options, lines: list[str]) -> None:
    """Prepares a docstring for napoleon, which takes ``name: text`` for a type and a text.

    Several results become a list; a colon in the first line of an attribute becomes a dash. What
    Python says of a named tuple is left out.
    """
    lines[:] = [line for line in lines if not line.startswith("Create new instance of ")]
    if what in ("attribute", "property") and lines:
        lines[0] = lines[0].replace(": ", " – ", 1)
    if "Returns:" not in lines:
        return
    start = lines.index("Returns:") + 1
    results = [i for i in range(start, len(lines)) if RESULT.match(lines[i])]
    if len(results) > 1:
        for i in results:
            lines[i] = RESULT.sub(r"    * \1 – ", lines[i])


def link_folders(app: Sphinx, doctree: nodes.document) -> None:
    """Links to a folder lead to the reference of that package, or nowhere."""
    for node in list(doctree.findall(pending_xref)):
        _, folder = app.env.relfn2path(node["reftarget"], app.env.docname)
        if node["reftype"] == "myst" and Path(folder).is_dir():
            page = f"docs/api/{Path(folder).name}"
            if page in app.env.found_docs:
                node["refdomain"], node["reftarget"], node["reftargetid"] = "doc", page, None
            else:
                node.replace_self(node.children)


def add_texts(app: Sphinx, error: Exception | None) -> None:
    """Puts ``llms.txt`` and what it lists beside the pages, and the first page under its name."""
    if error or app.builder.name != "html":
        return
    shutil.copy(Path(app.outdir, f"{root_doc}.html"), Path(app.outdir, "index.html"))
    for path in ("llms.txt", *include_patterns):
        shutil.copy(ROOT / path, Path(app.outdir, path))
    guides = [ROOT / path for path in include_patterns if path.endswith(".md")]
    texts = [path.read_text(encoding="utf-8") for path in guides]
    Path(app.outdir, "llms-full.txt").write_text("\n\n".join(texts), encoding="utf-8")


def setup(app: Sphinx) -> None:
    app.connect("source-read", add_navigation)
    app.connect("autodoc-process-docstring", separate_results, priority=100)
    app.connect("doctree-read", link_folders)
    app.connect("build-finished", add_texts)
