"""What the documents tell readers to type exists: commands, options, keys, files and imports.

Commands are parsed by the real programs and their configs loaded, but no work is done. What cannot
be checked that way is in ``document_programs.OTHER_TOOLS``, with the reason.
"""

import argparse
import ast
import contextlib
import functools
import inspect
import re
import shutil
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from benchmarking.contenders import parse_contenders
from document_programs import (
    LAUNCHERS,
    OTHER_TOOLS,
    TakesNoArguments,
    check,
    check_program,
    check_python,
)
from documents import (
    PAGES,
    ROOT,
    find_commands,
    find_python_blocks,
    find_spans,
    is_in_block,
    note_commands,
)
from omegaconf import DictConfig, ListConfig, OmegaConf

from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog
from detectron2.utils.registry import locate
from tood_d2.__main__ import PROGRAMS
from tood_d2.config import add_tood_config, load_config

SCRIPTS = [ROOT / "demo" / "onnx_demo.py", *ROOT.glob("dev/*.py")]  # besides tood's programs
CONFIGS = sorted(ROOT.glob("configs/**/tood_*.py"))
OTHER_OPTIONS = {
    "--allow-unmatched-labels",
    "--clear-existing",
    "--conf-threshold",
    "--gpus-per-node",
    "--gpus-per-task",
    "--max-restarts",
    "--no-kill",
    "--rdzv-endpoint",
    "--shutdown-timeout",
    "--signal",
    "--target",
}
"""Of OTHER_TOOLS and LAUNCHERS, in sentences that do not repeat the tool."""
FILE = re.compile(r"\w+\.(json|onnx|png|pth|py|safetensors|sh|txt|xml|yaml)")
KEY = re.compile(r"(dataloader|dataset|model|optimizer|train)\.[\w.]+|[A-Z]+(\.[A-Z_]+)+")

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ["bash", "make"])), reason="needs bash and make"
)
of_each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """The folder in which the commands of a page follow each other, as if in a checkout."""
    for path in ROOT.iterdir():
        if not path.name.startswith(".") and path.name not in ("output", "datasets"):
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    modules, data_sets = {*sys.modules}, {*DatasetCatalog}
    yield tmp_path
    for name in {*DatasetCatalog} - data_sets:
        DatasetCatalog.remove(name)
    for name in {*sys.modules} - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@of_each_page
def test_commands_are_understood_by_their_programs(page, checkout):
    write_files(page, checkout)
    check(["make", "demo"])  # what the documents begin with
    failures, missing = [], set()
    for line, argv in find_commands(page, checkout):
        try:
            check(argv)
        except ModuleNotFoundError as error:
            missing.add(optional_package(error))
        except (AssertionError, OSError, ValueError) as error:
            if "arguments are required" in str(error) and not is_in_block(page, line):
                continue  # a sentence may leave out what is not its concern
            failures.append(f"{page.name}:{line}: {' '.join(argv)}\n    {error}")
    assert not failures, "\n" + "\n".join(failures)
    if missing:
        pytest.skip(f"some commands need {', '.join(missing)}")


def optional_package(error: ModuleNotFoundError) -> str:
    """The package that is not installed, unless it is a part of this one."""
    if error.name.startswith("tood_d2"):
        raise error
    return error.name


def test_lines_of_blocks_are_told_from_those_of_sentences(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("`tood a`\n```sh\ntood b\n```\n`make\nc`\n- x\n  ```sh\n  tood d\n  ```\n")
    commands = find_commands(page, tmp_path)
    assert [(line, argv[1], is_in_block(page, line)) for line, argv in commands] == [
        (1, "a", False),
        (3, "b", True),
        (5, "c", False),
        (9, "d", True),
    ]


@pytest.mark.parametrize(
    "command, message",
    [
        ("python train_net.py --evalonly", "unrecognized arguments: --evalonly"),
        ("python train_net.py --eval-only --predictions x --tta", "goes with --eval-only alone"),
        ("python train_net.py --config-file configs/tood.py", "'configs/tood.py': no such config"),
        ("python train_net.py --config-file output/demo/config.yaml", "no such config"),
        ("tood train --config-file tood_R_18_FPN_tiny train.max_itr=9", "did you mean max_iter"),
        ("torchrun train_net.py --config-file tood_R_50_FPN_1x.yaml A.B 9", "unknown key 'A.B'"),
        ("python dev/benchmark.py inference tood_R_50_FPN_1x --round 3.5", "'3.5' should be"),
        ("python dev/benchmark.py inference 'tood_R_50_FPN_1x --opt'", "--opt"),
        ("python tools/no_such_tool.py", "No such file"),
        ("python dev/draw_architecture.py --help", "takes no arguments"),
        ("python -m no_such_module", "no module no_such_module"),
        ("tood trian", "tood has no program trian"),
        ("make dmo", "No rule to make target 'dmo'"),
        ("make demo PYTHN=python", "does not tell of PYTHN"),
        ("pip install -e '.[export,exprt]'", "setup.py has no extra exprt"),
        ("/usr/bin/python -m no_such_module", "no module no_such_module"),
        ("convert a.jpg b.png", "name it in OTHER_TOOLS"),
    ],
)
def test_wrong_commands_are_found(command, message, checkout):
    ((line, argv),) = note_commands(f"\n\n{command}", checkout, "page.md")
    assert line == 3
    with pytest.raises((AssertionError, OSError, ValueError), match=re.escape(message)):
        check(argv)


def test_commands_are_those_that_the_shell_makes(tmp_path):
    (tmp_path / "a b.png").touch()
    script = """
    A="x y"  # a comment
    for i in 1 2; do
        python $A $i \\
            "$A" *.png
    done
    cd nowhere && source file && echo text > made | tood z; .venv/bin/python w
    """
    assert note_commands(script, tmp_path, "page.md") == [
        (4, ["python", "x", "y", "1", "x y", "a b.png"]),
        (4, ["python", "x", "y", "2", "x y", "a b.png"]),
        (7, ["tood", "z"]),
        (7, [".venv/bin/python", "w"]),
    ]
    with pytest.raises(ValueError, match="page.md: line 2: .*EOF"):
        note_commands("\necho 'it", tmp_path, "page.md")


def write_files(page: Path, folder: Path) -> None:
    """Writes the blocks of Python that a page gives names of files."""
    for block in find_python_blocks(page):
        if block.file_name:
            (folder / block.file_name).write_text(block.text)


@pytest.fixture(scope="module")
def options() -> set[str]:
    """All options of all programs."""
    found, add = set(), argparse._ActionsContainer.add_argument

    def note(self, *names, **kwargs):
        found.update(names)
        return add(self, *names, **kwargs)

    with mock.patch.object(argparse._ActionsContainer, "add_argument", note):
        for name in PROGRAMS:
            check_program(name, "--help")
        for script in SCRIPTS:
            with contextlib.suppress(TakesNoArguments, ModuleNotFoundError):
                check_python(str(script), "--help")
        parse_contenders([], torch.device("cpu"))
    return found


@of_each_page
def test_options_in_sentences_are_options_of_a_program(page, options):
    unknown = [
        f"{page.name}:{line}: {option}"
        for line, span in find_spans(page)
        if span.partition(" ")[0] not in {*OTHER_TOOLS, *LAUNCHERS}
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", span)
        if option not in options | OTHER_OPTIONS
    ]
    assert unknown == []


@of_each_page
def test_keys_in_sentences_are_keys_of_a_config(page):
    unknown = [
        f"{page.name}:{line}: {key}"
        for line, span in find_spans(page)
        for key in re.findall(r"(?<!\S)([A-Za-z_]+(?:\.\w+)+)(?:=|$|(?=\s))", span)
        if KEY.fullmatch(key) and not FILE.fullmatch(key)
        if not is_yaml_key(key) and not is_lazy_key(key)
    ]
    assert unknown == []


@functools.cache
def is_yaml_key(key: str) -> bool:
    cfg = get_cfg()
    add_tood_config(cfg)
    *folders, name = key.split(".")
    return name in functools.reduce(lambda node, folder: node.get(folder, {}), folders, cfg)


@functools.cache
def is_lazy_key(key: str) -> bool:
    """Whether a shipped LazyConfig has the key, or calls something that takes it."""
    return any(has_key(lazy_config(str(path)), key) for path in CONFIGS)


lazy_config = functools.cache(load_config)


def has_key(cfg: DictConfig, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent)
    if isinstance(node, ListConfig):
        return name.isdecimal() and int(name) < len(node)
    if not isinstance(node, DictConfig):
        return False
    if name in node or "_target_" not in node:
        return name in node
    target = node["_target_"]
    target = locate(target) if isinstance(target, str) else target
    return name in inspect.signature(target).parameters


BLOCKS = [block for page in PAGES for block in find_python_blocks(page)]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page.name}:{block.line}")
def test_python_imports_what_is_there_and_calls_it_rightly(block, checkout):
    write_files(block.page, checkout)
    tree = ast.parse(block.text)
    imported = run_imports(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            check_call(node, imported)


def run_imports(tree: ast.Module) -> dict[str, object]:
    """What a block imports, by the names that it gives."""
    imported = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            try:
                exec(compile(ast.Module([node], []), ast.unparse(node), "exec"), imported)
            except ModuleNotFoundError as error:
                pytest.skip(f"needs {optional_package(error)}")
    return imported


def check_call(call: ast.Call, imported: dict[str, object]) -> None:
    """Fails if what was imported does not take these arguments."""
    names = ast.unparse(call.func).split(".")
    if names[0] not in imported or not all(map(str.isidentifier, names)):
        return
    function = functools.reduce(getattr, names[1:], imported[names[0]])
    with contextlib.suppress(ValueError):  # what is written in C has no signature
        signature = inspect.signature(function)
        bind = signature.bind_partial if has_stars(call) else signature.bind
        arguments = [x for x in call.args if not isinstance(x, ast.Starred)]
        bind(*arguments, **{x.arg: x.value for x in call.keywords if x.arg})


def test_wrong_calls_are_found():
    tree = ast.parse("from tood_d2.config import load_run as f\nf('a', wheights='b')\nf(*x, y=1)")
    imported = run_imports(tree)
    for statement in tree.body[1:]:
        with pytest.raises(TypeError, match="unexpected keyword argument '(wheights|y)'"):
            check_call(statement.value, imported)


def has_stars(call: ast.Call) -> bool:
    return any(isinstance(x, ast.Starred) for x in call.args) or None in {
        x.arg for x in call.keywords
    }
