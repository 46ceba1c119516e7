"""The documents as programs read them: shell commands, and blocks of Python."""

import re
import subprocess
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_COMMAND = re.compile(
    r"(docker|make|pip|(\.venv/bin/)?python|srun|sudo|tensorboard|tood|torchrun) (?!.*\.\.\.).+"
)
_PATH = re.compile(r"(?:^|[;&|]|\b(?:do|then)\b)\s*([\w.-]*/[\w./-]+)(?=\s)", re.MULTILINE)
_FILE_NAME = re.compile(r"`(\w+\.py)`[^`]*:$")

# Bash finds no program, and those called by their paths are functions, so it hands each command to
# this function, after all that it does itself: variables, loops, quotes and globs. What would leave
# the folder or read other files does nothing.
_NOTE_COMMANDS = r"""
PATH=/nonexistent
exec 3> "$2"
command_not_found_handle() { printf '%s\0' "${BASH_LINENO[-3]}" $# "$@" >&3; }
cd() { :; }
source() { :; }
builtin source "$1"
"""


class Command(NamedTuple):
    """A command with the line that it begins in."""

    line: int
    argv: list[str]


class PythonBlock(NamedTuple):
    """A block of Python.

    Attributes:
        page, line: where its code begins.
        text: the code.
        file_name: that the paragraph before gives it, or None.
    """

    page: Path
    line: int
    text: str
    file_name: str | None


def find_commands(page: Path, folder: Path) -> list[Command]:
    """The commands of a page's ``sh`` blocks and of its sentences, as a shell would run them.

    All of a page are one script, so they share their variables.

    Args:
        page: a Markdown file.
        folder: to run in, for globs.

    Raises:
        ValueError: if a block is no shell script.
    """
    return note_commands(_script(page), folder, page.name)


def note_commands(script: str, folder: Path, name: str) -> list[Command]:
    """The programs that a script would call, with their arguments. None is called.

    Raises:
        ValueError: if it is no shell script.
    """
    note, file, noted = (folder / f".{x}" for x in ("note.sh", "script.sh", "noted"))
    paths = {match[1] for match in _PATH.finditer(script)}
    functions = [f'{x}() {{ command_not_found_handle {x} "$@"; }}' for x in sorted(paths)]
    note.write_text("\n".join([*functions, _NOTE_COMMANDS]))
    file.write_text(script, encoding="utf-8")
    shell = ["bash", "--norc", note, file, noted]
    done = subprocess.run(
        shell, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    if done.stderr:
        raise ValueError(f"{name}: {done.stderr.replace(f'{file}: ', '')}")
    fields = noted.read_text(encoding="utf-8").split("\0")[:-1]
    commands = []
    while fields:
        end = 2 + int(fields[1])
        commands.append(Command(int(fields[0]), fields[2:end]))
        del fields[:end]
    return sorted(commands, key=lambda command: command.line)


def is_in_block(page: Path, line: int) -> bool:
    """Whether a line is in a block of code, not in a sentence."""
    text = page.read_text(encoding="utf-8")
    lines = [text.count("\n", 0, place) for x in _FENCE.finditer(text) for place in x.span()]
    return any(start < line <= end for start, end in zip(lines[::2], lines[1::2], strict=True))


def _script(page: Path) -> str:
    """All commands, in the lines where the page has them."""
    text = page.read_text(encoding="utf-8")
    lines = [[] for _ in range(text.count("\n") + 1)]
    for match in _FENCE.finditer(text):
        if match[2] == "sh":
            start = text.count("\n", 0, match.start(3))
            for number, line in enumerate(match[3].splitlines(), start=start):
                lines[number].append(line)
    for number, span in find_spans(page):
        if _COMMAND.fullmatch(span):
            lines[number - 1].append(span)
    return "\n".join("; ".join(line) for line in lines) + "\n"


def find_python_blocks(page: Path) -> list[PythonBlock]:
    """The ``python`` blocks of a page."""
    text = page.read_text(encoding="utf-8")
    blocks = []
    for match in _FENCE.finditer(text):
        if match[2] == "python":
            before = text[: match.start()].rstrip().rpartition("\n\n")[2]
            name = _FILE_NAME.search(before)
            line = text.count("\n", 0, match.start(3)) + 1
            blocks.append(PythonBlock(page, line, textwrap.dedent(match[3]), name and name[1]))
    return blocks


def find_spans(page: Path) -> list[tuple[int, str]]:
    """Line and text of each code span in a page's sentences."""
    prose = _FENCE.sub(lambda match: re.sub(r"[^\n]", "", match[0]), page.read_text("utf-8"))
    spans = _SPAN.finditer(prose)
    return [(prose.count("\n", 0, x.start()) + 1, " ".join(x[1].split())) for x in spans]
