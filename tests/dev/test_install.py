"""Where installing cannot succeed, one sentence says why before anything is made or downloaded.

`make test PYTHON=...` does likewise.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
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
def tools(tmp_path):
    """A folder of all the programs that install.sh may use, each a link to the real one."""
    folder = tmp_path / "dev"
    folder.mkdir()
    for name in ("dirname", "git", "sh", "tail"):
        (folder / name).symlink_to(shutil.which(name))
    executable(folder / "c++", "exit 1")
    return folder


@pytest.fixture
def install(tools, tmp_path):
    def run(**environment):
        """Runs install.sh, which must fail with one sentence; returns that."""
        result = subprocess.run(
            [shutil.which("sh"), str(ROOT / "dev" / "install.sh"), str(tmp_path / "venv")],
            env={
                "PATH": str(tools),
                "BASE_PYTHON": sys.executable,
                "DETECTRON2": UNREACHABLE,
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == 1
        assert result.stdout == ""
        assert result.stderr.startswith("install.sh: ")
        assert result.stderr.count("\n") == 1
        assert not (tmp_path / "venv").exists()
        return result.stderr

    return run


@pytest.mark.parametrize(
    ("version", "refused"), [("2, 7, 18", True), ("3, 9, 18", True), ("3, 10, 0", False)]
)
def test_version_of_python(install, tmp_path, version, refused):
    """With an interpreter that takes itself for one of the version."""
    pretend = f"import sys; sys.version_info = ({version})"
    python = executable(tmp_path / "python", f'exec {sys.executable} -c "{pretend}; $2"')
    sentence = install(BASE_PYTHON=str(python))
    assert (f"{python} is not Python 3.10 or newer" in sentence) == refused


def test_no_python(install):
    assert "/none/python is not Python 3.10 or newer" in install(BASE_PYTHON="/none/python")


def test_no_git(install, tools):
    (tools / "git").unlink()
    assert "git is missing" in install()


def test_no_compiler(install, tools):
    (tools / "c++").unlink()
    assert "no C++ compiler (c++)" in install()


def test_compiler_of_the_environment(install, tools):
    (tools / "c++").rename(tools / "clang++")
    assert "C++ compiler" not in install(CXX="clang++ -O1")
    assert "no C++ compiler (g++ -O1)" in install(CXX="g++ -O1")


class TestDetectron2:
    @pytest.fixture(autouse=True)
    def headers(self):
        if not Path(sysconfig.get_path("include"), "Python.h").exists():
            pytest.skip("needs Python.h")

    @pytest.mark.parametrize("repository", [UNREACHABLE, "/none/detectron2"])
    def test_repository_out_of_reach(self, install, repository):
        sentence = install(DETECTRON2=repository)
        assert f"cannot read {repository}" in sentence
        assert "DETECTRON2=/path/to/checkout" in sentence

    def test_folder_without_the_commit(self, install, tmp_path):
        folder = tmp_path / "detectron2"
        folder.mkdir()
        assert f"{folder} is not a Git repository that has" in install(DETECTRON2=str(folder))
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
        assert f"{folder} is not a Git repository that has" in install(DETECTRON2=str(folder))


def test_make_with_a_python_that_lacks_torch(tmp_path):
    python = executable(tmp_path / "python", f'exec {sys.executable} -S "$@"')
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
