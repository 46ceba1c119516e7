"""Detectron2 is installed as Python source, from a repository that stands in for it."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tood_d2.programs import install_detectron2 as program

SETUP = """
import os
from setuptools import Extension, setup

setup(
    name="detectron2",
    version="0.6" + os.environ["D2_VERSION_SUFFIX"],
    packages=["detectron2"],
    ext_modules=[Extension("detectron2._C", ["c.cpp"])],
)
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository whose newest commit is not the wanted one; its operators cannot be compiled."""
    folder = tmp_path / "repository"
    (folder / "detectron2").mkdir(parents=True)
    (folder / "setup.py").write_text(SETUP)
    (folder / "c.cpp").write_text("#error")
    (folder / "detectron2" / "__init__.py").write_text("wanted = True")

    # At a fixed time, so that the commit's name is always the same: one of digits alone that
    # starts with 0 is another version to pip, which drops leading zeros.
    time = "2024-01-01T00:00:00Z"
    environment = {**os.environ, "GIT_AUTHOR_DATE": time, "GIT_COMMITTER_DATE": time}

    def git(*args):
        command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *args]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        return done.stdout.strip()

    git("init")
    git("add", ".")
    git("commit", "-m", "wanted")
    monkeypatch.setattr(program, "COMMIT", git("rev-parse", "HEAD"))
    (folder / "detectron2" / "__init__.py").write_text("wanted = False")
    git("commit", "-am", "newer")
    return folder


@pytest.fixture
def run(monkeypatch, capfd, repository):
    """Runs the program with arguments: exit status, standard output and standard error."""

    def _run(*args):
        argv = ["install", "--repository", str(repository), *args]
        monkeypatch.setattr(sys, "argv", argv)
        try:
            status = program.main()
        except SystemExit as stop:
            status = stop.code
        return status, *capfd.readouterr()

    return _run


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """Makes pip install into a folder, which is returned, without the network."""
    folder = tmp_path / "site"
    real = subprocess.run

    def into_folder(command, **kwargs):
        if "setuptools<81" in command:  # the environment's own will do
            return real([sys.executable, "-c", ""])
        if "pip" in command:
            command = [*command, "--target", str(folder), "--upgrade", "--no-deps"]
        return real(command, **kwargs)

    monkeypatch.setattr(program.subprocess, "run", into_folder)
    return folder


def test_python_source_at_the_commit(run, environment):
    status, output, _ = run()
    assert status == 0
    assert [x for x in output.splitlines() if x.endswith("...")] == [
        "Fetching Detectron2's source (10 MB) ...",
        "Packing Detectron2 ...",
        "Installing Detectron2 and what it needs (30 MB) ...",
    ]
    assert (environment / "detectron2" / "__init__.py").read_text() == "wanted = True"
    assert not list(environment.rglob("*.so"))
    (metadata,) = environment.glob("detectron2-*.dist-info")
    assert metadata.name == f"detectron2-0.6+{program.COMMIT[:7]}.dist-info"


@pytest.mark.skipif(
    not Path(sysconfig.get_path("include"), "Python.h").exists(), reason="needs Python.h"
)
def test_operators_that_cannot_be_compiled(run, environment):
    status, output, errors = run("--compiled")
    assert status == 2
    assert "Compiling Detectron2 (minutes) ..." in output
    assert "#error" in errors  # the compiler's message
    assert errors.splitlines()[-1].startswith("install: failed: ")
    assert not environment.exists()


def test_it_is_installed_once(run, monkeypatch, repository):
    class Installed:
        version = f"0.6+{program.COMMIT[:7]}"

        def read_text(self, name):
            return None

    monkeypatch.setattr(program.metadata, "distribution", lambda name: Installed())
    monkeypatch.setattr(program.metadata, "version", lambda name: Installed.version)
    monkeypatch.setattr(program, "install", None)
    assert run() == (0, f"Detectron2 {Installed.version} is installed.\n", "")


def test_an_installation_by_pip_from_git_counts(monkeypatch):
    class Installed:
        version = "0.6"

        def read_text(self, name):
            return '{"vcs_info": {"commit_id": "02b5c4e295e990042a714712c21dc79b731e8833"}}'

    monkeypatch.setattr(program.metadata, "distribution", lambda name: Installed())
    assert program.is_installed(compiled=False)
    monkeypatch.setattr(program, "COMMIT", "0123456789")
    assert not program.is_installed(compiled=False)


def test_operators_need_headers(monkeypatch, repository, tmp_path):
    monkeypatch.setenv("CXX", sys.executable)
    monkeypatch.setattr(program.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(FileNotFoundError, match="python3-dev"):
        program.check(str(repository), compiled=True)
    program.check(str(repository), compiled=False)


@pytest.mark.parametrize("package", ["pip", "torch"])
def test_pip_and_pytorch_come_first(run, monkeypatch, package):
    find_spec = program.importlib.util.find_spec
    monkeypatch.setattr(
        program.importlib.util, "find_spec", lambda x: None if x == package else find_spec(x)
    )
    status, _, errors = run()
    assert status == 2 and f"has no {package}, install that first" in errors


def test_check_installs_nothing(run, monkeypatch):
    monkeypatch.setattr(program, "install", None)
    assert run("--check") == (0, "", "")
