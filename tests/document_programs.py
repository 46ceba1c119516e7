"""Programs that the documents call: whether they would take the arguments given there."""

import contextlib
import importlib.util
import io
import os
import re
import runpy
import subprocess
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from benchmarking.contenders import parse_contenders
from documents import ROOT, note_commands

from detectron2.config import CfgNode, LazyConfig
from tood_d2.__main__ import PROGRAMS
from tood_d2.config import load_run
from tood_d2.programs.predict import DEFAULT_MODEL

OTHER_TOOLS = {
    "basename": "a tool of the system",
    "curl": "needs a running service",
    "cvat-cli": "needs a server of CVAT",
    "docker": "needs Docker",
    "hf": "needs the Hugging Face Hub",
    "kubectl": "needs a cluster",
    "ray": "needs a cluster",
    "sbatch": "needs a cluster",
    "split": "a tool of the system",
    "tensorboard": "another package's server",
    "unzip": "takes what a labelling tool exports",
}
"""Programs whose arguments cannot be checked here, with the reason."""
WRITTEN_BY_OTHERS = {"shared/config.yaml": "tood share"}
"""Configs that no training writes, with what does; here the default model's stands in."""
LAUNCHERS = {"srun", "sudo", "torchrun"}
"""Programs that call the one after their own arguments, which is checked."""


class TakesNoArguments(ValueError):
    """A program has none, but is given some."""


class Parsed(BaseException):
    """Takes the place of a program's work, with its arguments."""

    def __init__(self, namespace: Namespace):
        self.namespace = namespace


def check(argv: list[str]) -> None:
    """Lets the program of a command parse its arguments and load its config; no more.

    Raises:
        AssertionError, OSError, ValueError: if it would refuse them, with the reason.
    """
    name, *arguments = argv
    if name in OTHER_TOOLS:
        return
    if name in LAUNCHERS:
        start = next((i for i, x in enumerate(arguments) if x.endswith((".py", ".sh"))), None)
        assert start is not None, f"calls no script with {name}"
        check(["python"] * arguments[start].endswith(".py") + arguments[start:])
    elif name == "make":
        check_make(arguments)
    elif name == "pip":
        extras = re.findall(r"(?:\.|tood_d2)\[(.+?)\]", " ".join(arguments))
        unknown = {x for names in extras for x in names.split(",")} - {*declared_extras()}
        assert not unknown, f"setup.py has no extra {', '.join(unknown)}"
    elif name == "tood":
        check_program(*arguments)
    elif re.fullmatch(r"python[\d.]*", name):
        check_python(*arguments)
    elif "/" in name and not (ROOT / name).exists():
        check([Path(name).name, *arguments])  # of an environment
    else:
        assert "/" in name and os.access(ROOT / name, os.X_OK), (
            f"no such program; if it is another package's, name it in OTHER_TOOLS of {__file__}"
        )


def check_make(arguments: list[str]) -> None:
    variables = re.findall(r"^# ([A-Z_0-9]+) ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    unknown = {x.partition("=")[0] for x in arguments if "=" in x} - {*variables}
    assert not unknown, f"the Makefile does not tell of {', '.join(unknown)}"
    command = ["make", "-C", str(ROOT), "--dry-run", "PYTHON=python", *arguments]
    environment = {key: value for key, value in os.environ.items() if key != "MAKEFLAGS"}
    planned = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert planned.returncode == 0, planned.stderr
    lines = planned.stdout.replace("\\\n", " ").splitlines()
    script = "\n".join(line for line in lines if line.startswith("python "))
    for _, argv in note_commands(script, Path.cwd(), "Makefile"):
        check(argv)


def declared_extras() -> dict[str, list[str]]:
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    return setup.call_args.kwargs["extras_require"]


def check_program(name: str, *arguments: str) -> None:
    assert name in PROGRAMS, f"tood has no program {name}"
    if arguments:
        module = importlib.import_module(f"tood_d2.programs.{name.replace('-', '_')}")
        check_arguments(module.main, [name, *arguments])


def check_python(script: str, *arguments: str) -> None:
    if script == "-m":
        assert importlib.util.find_spec(arguments[0]), f"no module {arguments[0]}"
        if arguments[0] == "tood_d2":
            check_program(*arguments[1:])
        return
    if script == "-c":
        compile(arguments[0], script, "exec")
        return
    main = runpy.run_path(script, run_name="document").get("main")
    files = [script, main.__code__.co_filename] if main else [script]
    if not any("parse_args" in Path(file).read_text(encoding="utf-8") for file in files):
        if arguments:
            raise TakesNoArguments(f"{script} takes no arguments")
    elif main and "parse_args" in main.__globals__:
        check_arguments(main, [script, *arguments])
    else:
        check_arguments(partial(runpy.run_path, script, run_name="__main__"), [script, *arguments])


def check_arguments(main: Callable, argv: list[str]) -> None:
    """Calls a program until it has parsed its arguments, and loads the configs these name."""
    args = parse(main, argv)
    if args is None:  # --help
        return
    for name in ("", "other_"):
        file, opts = (getattr(args, f"{name}{x}", None) for x in ("config_file", "opts"))
        if file in WRITTEN_BY_OTHERS:
            file = None
        if file or opts:
            run = load_run(file or DEFAULT_MODEL, opts or (), getattr(args, "trust", ()))
            if not getattr(args, "eval_only", True):  # trains, so others can name its config
                path = Path(run.options.output_dir, "config.yaml")
                path.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(run.cfg, CfgNode):
                    path.write_text(run.dump())
                else:
                    LazyConfig.save(run.cfg, str(path))
    for contender in parse_contenders(getattr(args, "contenders", []), torch.device("cpu")):
        if not contender.is_exported:
            contender.load_run()


def parse(main: Callable, argv: list[str]) -> Namespace | None:
    """The arguments as the program understands them, None if it only prints its help."""
    parse_args = ArgumentParser.parse_args

    def stop(self, *args):
        raise Parsed(parse_args(self, *args))

    errors = io.StringIO()
    with (
        mock.patch("sys.argv", argv),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(errors),
    ):
        try:
            # Some check the arguments further in a function of this name.
            if own := getattr(main, "__globals__", {}).get("parse_args"):
                return own()
            with mock.patch.object(ArgumentParser, "parse_args", stop):
                main()
        except Parsed as parsed:
            return parsed.namespace
        except SystemExit as end:
            assert not end.code, errors.getvalue().strip().rpartition("\n")[2]
            return None
    raise AssertionError("parses no arguments")
