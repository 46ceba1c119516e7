"""Installs Detectron2, at the commit that tood_d2 is tested with, for the Python that runs this.

It is on no package index. As plain Python source, the default, it needs no compiler, and all of
tood_d2 works with it.
"""

import argparse
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from tood_d2.cli.messages import short_errors

COMMIT = "02b5c4e295e990042a714712c21dc79b731e8833"
REPOSITORY = "https://github.com/facebookresearch/detectron2.git"

# Detectron2's setup.py always asks for its operators to be compiled.
_SETUP_WITHOUT_OPERATORS = """
import runpy, setuptools
setup = setuptools.setup
setuptools.setup = lambda **kwargs: setup(**kwargs | {"ext_modules": []})
runpy.run_path("setup.py", run_name="__main__")
"""


def is_installed(compiled: bool) -> bool:
    """Whether this Python has Detectron2 at the commit, if wanted with operators that load."""
    try:
        installed = metadata.distribution("detectron2")
    except metadata.PackageNotFoundError:
        return False
    source = f"{installed.version} {installed.read_text('direct_url.json')}"
    if COMMIT[:7] not in source:
        return False
    load = [sys.executable, "-c", "import torch, detectron2._C"]
    return not compiled or subprocess.run(load, capture_output=True).returncode == 0


def check(repository: str, compiled: bool) -> None:
    """Raises an OSError that says what is missing, before anything is made or downloaded."""
    if shutil.which("git") is None:
        raise FileNotFoundError("git is missing, it is needed to fetch Detectron2")
    compiler = os.environ.get("CXX", "c++")
    if compiled and shutil.which(shlex.split(compiler)[0]) is None:
        raise FileNotFoundError(f"there is no C++ compiler ({compiler}) to compile Detectron2 with")
    if compiled and not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise FileNotFoundError(
            f"{sys.executable} has no Python.h to compile Detectron2 with (on Debian and Ubuntu: "
            "package python3-dev)"
        )
    if os.path.isdir(repository):
        command = ["-C", repository, "cat-file", "-e", f"{COMMIT}^{{commit}}"]
    else:
        command = ["ls-remote", repository, "HEAD"]
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0"}
    result = subprocess.run(["git", *command], capture_output=True, text=True, env=environment)
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ConnectionError(
            f"cannot read Detectron2's commit {COMMIT[:7]} from {repository} ({reason}): name a "
            "local checkout instead, DETECTRON2=/path/to/checkout"
        )


def install(repository: str, compiled: bool, constraint: str | None) -> None:
    """Fetches the commit, makes a wheel of it and installs that with what it requires.

    Raises:
        subprocess.CalledProcessError: if a step fails, which has printed why.
    """

    def call(*command: str, **kwargs) -> None:
        subprocess.run(command, check=True, **kwargs)

    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    with TemporaryDirectory(prefix="detectron2-") as folder:
        source, tools, wheels = (Path(folder, x) for x in ("source", "tools", "wheels"))
        print("Fetching Detectron2's source (10 MB) ...", flush=True)
        call("git", "init", "--quiet", str(source))
        fetch = ["git", "-C", str(source), "fetch", "--quiet"]
        repository = os.path.abspath(repository) if os.path.isdir(repository) else repository
        shallow = [*fetch, "--depth", "1", repository, COMMIT]
        if subprocess.run(shallow, capture_output=True).returncode:  # not all servers can do this
            call(*fetch, repository)
        call("git", "-C", str(source), "checkout", "--quiet", COMMIT)

        # Tools of one's own leave the environment's as they are.
        build = ["setuptools<81", "wheel", *(["ninja"] if compiled else [])]
        call(*pip, "install", "--quiet", "--target", str(tools), *build)
        environment = os.environ | {
            "D2_VERSION_SUFFIX": f"+{COMMIT[:7]}",
            "PATH": f"{tools / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONPATH": str(tools),
        }
        program = ["setup.py"] if compiled else ["-c", _SETUP_WITHOUT_OPERATORS]
        print(
            "Compiling Detectron2 (minutes) ..." if compiled else "Packing Detectron2 ...",
            flush=True,
        )
        command = [sys.executable, *program, "-q", "bdist_wheel", "--dist-dir", str(wheels)]
        result = subprocess.run(
            command, cwd=source, env=environment, capture_output=True, text=True
        )
        if result.returncode:
            print(result.stdout + result.stderr, file=sys.stderr)
            result.check_returncode()

        print("Installing Detectron2 and what it needs (30 MB) ...", flush=True)
        (wheel,) = map(str, wheels.iterdir())
        options = ["--constraint", constraint] if constraint else []
        # By itself, pip would keep another build of the same version.
        call(*pip, "install", "--quiet", "--no-deps", "--force-reinstall", wheel)
        call(*pip, "install", *options, wheel)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add(
        "--compiled",
        action="store_true",
        help="with its operators, for faster COCO evaluation of many images; needs a C++ compiler "
        "and Python's headers",
    )
    add(
        "--repository",
        default=os.environ.get("DETECTRON2") or REPOSITORY,
        help=f"git repository to take it from, URL or local checkout ({REPOSITORY})",
    )
    add("--constraint", metavar="FILE", help="versions of other packages, as for pip")
    add("--check", action="store_true", help="only look whether installing can succeed")
    args = parser.parse_args()
    with short_errors(os.path.basename(sys.argv[0])):
        if is_installed(args.compiled):
            print(f"Detectron2 {metadata.version('detectron2')} is installed.")
            return 0
        check(args.repository, args.compiled)
        if args.check:
            return 0
        if missing := [x for x in ("pip", "torch") if importlib.util.find_spec(x) is None]:
            raise FileNotFoundError(f"{sys.executable} has no {missing[0]}, install that first")
        try:
            install(args.repository, args.compiled, args.constraint)
        except subprocess.CalledProcessError as error:
            raise ChildProcessError(f"failed: {shlex.join(map(str, error.cmd))}") from error
    return 0


if __name__ == "__main__":  # before tood_d2 itself is installed
    sys.exit(main())
