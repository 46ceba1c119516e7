"""What a program says when it fails."""

import json
import os
import re

import pytest
import torch
from script_runs import own_logging
from torch.utils.data import DataLoader

from tood_d2.cli.logs import setup_logging
from tood_d2.cli.messages import describe, short_errors


@pytest.mark.parametrize(
    "error, message",
    [
        (ValueError("too\n  many"), "too many"),
        (FileNotFoundError(2, "No such file", "a.json"), "[Errno 2] No such file: 'a.json'"),
        (KeyError("lr"), "KeyError: 'lr' (hint)"),
        (RuntimeError(), "RuntimeError: no message (hint)"),
    ],
)
def test_messages_are_one_line(error, message):
    assert describe(error, "hint") == message


class Failing(torch.utils.data.Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        try:
            raise OSError("broken")
        except OSError as error:
            raise ValueError(f"image {index}: broken") from error


def test_workers_errors_come_without_their_traceback():
    with pytest.raises(ValueError) as caught:
        next(iter(DataLoader(Failing(), num_workers=1)))
    assert "Traceback" in str(caught.value)
    assert describe(caught.value) == "image 0: broken"


@pytest.mark.parametrize("traceback, more", [(False, ", --traceback shows more"), (None, "")])
def test_an_unexpected_error_ends_the_program_with_its_type_and_place(traceback, more, capsys):
    with pytest.raises(SystemExit, match="2"), short_errors("program", traceback):
        raise ZeroDivisionError("oh")
    pattern = rf"program: ZeroDivisionError: oh \(test_messages.py, line \d+{more}\)\n"
    assert re.fullmatch(pattern, capsys.readouterr().err)


def test_errors_are_left_as_they_are_if_asked():
    with pytest.raises(ZeroDivisionError), short_errors("program", traceback=True):
        raise ZeroDivisionError


def test_ctrl_c_ends_the_program_with_its_status(capsys):
    with pytest.raises(SystemExit, match="130"), short_errors("program"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "program: interrupted\n"


@pytest.mark.parametrize("traceback, raised", [(False, SystemExit), (True, ValueError)])
def test_the_traceback_is_in_the_log_and_the_message_names_the_log(
    traceback, raised, capsys, tmp_path
):
    with own_logging(), pytest.raises(raised), short_errors("program", traceback):
        setup_logging(str(tmp_path))
        raise ValueError("oh")
    log = (tmp_path / "log.txt").read_text()
    assert "Traceback" in log and "test_messages.py" in log and "ValueError: oh" in log
    assert "Traceback" not in "".join(capsys.readouterr())


def test_an_unexpected_error_names_the_log(capsys, tmp_path):
    with own_logging(), pytest.raises(SystemExit), short_errors("program", traceback=False):
        setup_logging(str(tmp_path), rank=1)
        raise KeyError("lr")
    assert capsys.readouterr().err.endswith(f", see {tmp_path}/log.txt.rank1)\n")
    assert "KeyError: 'lr'" in (tmp_path / "log.txt.rank1").read_text()


class FullDisk:
    """A file that neither takes anything nor can be closed."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        raise OSError(28, "No space left")

    def write(self, text):
        raise OSError(28, "No space left", "a.pth")


def test_the_first_error_of_a_full_disk_is_told(capsys):
    with pytest.raises(SystemExit), short_errors("program"), FullDisk() as file:
        file.write("")
    assert capsys.readouterr().err == "program: [Errno 28] No space left: 'a.pth'\n"


def test_errors_that_follow_from_a_full_disk_do_not_hide_it(capsys):
    with pytest.raises(SystemExit), short_errors("program"):
        try:
            raise OSError(28, "No space left")
        except OSError:
            try:
                {}["time"]
            except KeyError:
                1 / 0  # noqa: B018
    assert capsys.readouterr().err == "program: [Errno 28] No space left\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_full_disk_is_told_where_c_code_raised_the_error(capsys):
    with pytest.raises(SystemExit), short_errors("program"), open("/dev/full", "w") as file:
        json.dump([1], file)
    assert "No space left" in capsys.readouterr().err


def test_an_error_with_a_cause_hides_it(capsys):
    with pytest.raises(SystemExit), short_errors("program"):
        try:
            raise OSError("a.json")
        except OSError as error:
            raise RuntimeError("oh") from error
    assert capsys.readouterr().err.startswith("program: RuntimeError: oh")


def test_an_error_without_a_file_comes_with_the_output_folder(capsys, tmp_path):
    with pytest.raises(SystemExit), own_logging(), short_errors("program"):
        setup_logging(str(tmp_path))
        raise OSError(28, "No space left")
    message = f"program: [Errno 28] No space left (output folder {tmp_path})\n"
    assert capsys.readouterr().err == message
