"""Arguments that programs share."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from detectron2.engine import default_argument_parser
from tood_d2.cli.arguments import add_config_arguments, training_argument_parser

FOLDER = Path(__file__).resolve().parents[2] / "tood_d2" / "cli"


def attributes(parser):
    names = ("option_strings", "nargs", "const", "default", "type", "choices", "required")
    return {x.dest: [getattr(x, name) for name in names] for x in parser._actions}


def test_training_takes_the_arguments_of_detectron2():
    theirs = attributes(default_argument_parser())
    ours = attributes(training_argument_parser())
    assert ours.keys() - theirs.keys() == {"trust", "timeout", "traceback"}
    # The one difference: a port that is free, instead of one that follows from the user.
    theirs["dist_url"][3] = "auto"
    assert {x: ours[x] for x in theirs} == theirs


@pytest.fixture
def parser():
    parser = argparse.ArgumentParser()
    add_config_arguments(parser, required=True, help="of a detector")
    return parser


def test_overrides_end_the_command_line(parser):
    arguments = "--config-file a.py --trust mine --trust theirs --opts x=1 --trust"
    args = parser.parse_args(arguments.split())
    assert vars(args) == {
        "config_file": "a.py",
        "trust": ["mine", "theirs"],
        "opts": ["x=1", "--trust"],
    }


def test_a_program_can_require_a_config(parser, capsys):
    assert "of a detector" in parser.format_help()
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args([])
    assert "--config-file" in capsys.readouterr().err


def test_neither_pytorch_nor_detectron2_is_imported():
    """By the modules of this package, as the project's own may import what it wants."""
    code = (
        "import sys, types\n"
        "package = sys.modules['tood_d2'] = types.ModuleType('tood_d2')\n"
        f"package.__path__ = [{str(FOLDER.parent)!r}]\n"
        "from tood_d2.cli import arguments, logs, messages, processes\n"
        "arguments.training_argument_parser().format_help()\n"
        "print([x for x in ('torch', 'detectron2', 'numpy') if x in sys.modules])\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    assert output.stdout == "[]\n"
