"""Where installing cannot succeed, one sentence says why before anything is made or downloaded.

`make test PYTHON=...` does likewise.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNREACHABLE = "https://127.0.0.1:9/none.git"

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ["sh", "git", "make"])), reason="needs sh, git and make"
)


def executable(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def python(tmp_path):
    """A Python that has no Detectron2, as on a fresh machine."""
    return executable(tmp_path / "bare_python", f'exec {sys.executable} -S "$@"')


@pytest.fixture
def tools(tmp_path):
    """A folder of all the programs that install.sh may use, each a link to the real one."""
    folder = tmp_path / "dev"
    folder.mkdir()
    for name in ("dirname", "git", "sh"):
        (folder / name).symlink_to(shutil.which(name))
    executable(folder / "c++", "exit 1")
    return folder


@pytest.fixture
def install(tools, python, tmp_path):
    def run(**environment):
        """Runs install.sh, which must fail with one sentence; returns that."""
        result = subprocess.run(
            [shutil.which("sh"), str(ROOT / "dev" / "install.sh"), str(tmp_path / "venv")],
            env={
                "PATH": str(tools),
                "BASE_PYTHON": str(python),
                "DETECTRON2": UNREACHABLE,
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode in (1, 2)
        assert result.stdout == ""
        assert result.stderr.startswith("install")
        assert result.stderr.count("\n") == 1
        assert not (tmp_path / "venv").exists()
        return result.stderr

    return run


@pytest.mark.parametrize(
    ("version", "refused"),
    [("2, 7, 18", True), ("3, 9, 18", True), ("3, 10, 0", False), ("3, 14, 0", True)],
)
def test_version_of_python(install, tmp_path, version, refused):
    """With an interpreter that takes itself for one of the version."""
    pretend = f"import sys; sys.version_info = ({version}); exec(sys.stdin.read())"
    text = f'[ "$1" != - ] || {{ shift; exec {sys.executable} -S -c "{pretend}" "$@"; }}'
    python = executable(tmp_path / "python", f'{text}\nexec {sys.executable} -S "$@"')
    sentence = install(BASE_PYTHON=str(python))
    assert (f"{python} is not Python 3.10 to 3.13" in sentence) == refused


def test_no_python(install):
    assert "/none/python is not Python 3.10 to 3.13" in install(BASE_PYTHON="/none/python")


def test_python_without_venv(install, python):
    executable(python, f'[ "$1" != -c ] || exit 1; exec {sys.executable} -S "$@"')
    assert "package python3-venv" in install()


def test_no_git(install, tools):
    (tools / "git").unlink()
    assert "git is missing" in install()


class TestCompiler:
    def test_source_needs_none(self, install, tools):
        (tools / "c++").unlink()
        assert "cannot read Detectron2's commit" in install()

    def test_operators_need_one(self, install, tools):
        (tools / "c++").unlink()
        assert "no C++ compiler (c++)" in install(COMPILED="1")

    def test_of_the_environment(self, install, tools):
        (tools / "c++").rename(tools / "clang++")
        assert "C++ compiler" not in install(CXX="clang++ -O1", COMPILED="1")
        assert "no C++ compiler (g++ -O1)" in install(CXX="g++ -O1", COMPILED="1")


class TestRepository:
    @pytest.mark.parametrize("repository", [UNREACHABLE, "/none/detectron2"])
    def test_out_of_reach(self, install, repository):
        sentence = install(DETECTRON2=repository)
        assert f"from {repository}" in sentence
        assert "DETECTRON2=/path/to/checkout" in sentence

    def test_folder_without_the_commit(self, install, tmp_path):
        folder = tmp_path / "detectron2"
        folder.mkdir()
        assert f"from {folder}" in install(DETECTRON2=str(folder))
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
        assert f"from {folder}" in install(DETECTRON2=str(folder))


def test_make_with_a_python_that_lacks_torch(python):
    result = subprocess.run(
        ["make", "test", f"PYTHON={python}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode != 0
    assert result.stdout == ""
    sentence, makes_own = result.stderr.splitlines()
    assert f"{python} has no working torch, torchvision and detectron2" in sentence
    assert "No module named 'torch'" in sentence
    assert "check-python" in makes_own
