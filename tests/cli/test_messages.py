"""What a program says when it fails."""

import logging

import pytest
import torch
from torch.utils.data import DataLoader

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


@pytest.mark.parametrize(
    "traceback, end", [(False, "(--traceback shows where)"), (None, "(test_errors.py, line ")]
)
def test_errors_end_the_program(traceback, end, capsys):
    with pytest.raises(SystemExit, match="2"), short_errors("program", traceback):
        raise ZeroDivisionError("oh")
    message = capsys.readouterr().err
    assert message.startswith(f"program: ZeroDivisionError: oh {end}")
    assert message.count("\n") == 1


def test_errors_are_left_as_they_are_if_asked():
    with pytest.raises(ZeroDivisionError), short_errors("program", traceback=True):
        raise ZeroDivisionError


def test_the_first_error_of_a_full_disk_is_told(capsys):
    with pytest.raises(SystemExit), short_errors("program"):
        try:
            raise OSError(28, "No space left", "a.pth")
        finally:
            raise OSError(28, "No space left")
    assert "a.pth" in capsys.readouterr().err


@pytest.mark.parametrize("error, kept", [(ValueError("a"), False), (TypeError("a"), True)])
def test_the_trainer_logs_the_traceback_of_faults_of_the_program_alone(error, kept, caplog):
    trainer = logging.getLogger("detectron2.engine.train_loop")
    logger = logging.getLogger("detectron2")
    propagate, logger.propagate = logger.propagate, True
    try:
        with pytest.raises(SystemExit), short_errors("program"):
            try:
                raise error
            except Exception:
                trainer.exception("Exception during training:")
                raise
    finally:
        logger.propagate = propagate
    assert ("Traceback" in caplog.text) == kept
    assert not trainer.filters
