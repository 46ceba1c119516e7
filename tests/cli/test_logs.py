"""What goes to the console and what to log.txt."""

import logging
import threading
import warnings

import pytest
from omegaconf import OmegaConf
from script_runs import own_logging

from detectron2.engine import default_setup
from tood_d2.cli.logs import log_file, setup_logging


@pytest.fixture(autouse=True)
def loggers():
    with own_logging():
        yield


def set_up(folder):
    """Sets logging up in the test itself, as fixtures write to another console."""
    setup_logging()
    setup_logging(str(folder))
    return (folder / "log.txt").read_text


def written(capsys, log, word):
    """How often a word is on the console, and in the file."""
    return "".join(capsys.readouterr()).count(word), log().count(word)


@pytest.mark.parametrize(
    "name, level, text, expected",
    [
        ("tood_d2.engine", "info", "hello", (1, 1)),
        ("detectron2.engine.hooks", "info", "hello", (1, 1)),
        ("fvcore.common.checkpoint", "warning", "hello", (1, 1)),
        ("detectron2.data.datasets.coco", "warning", "Category ids hello", (0, 1)),
        ("detectron2.data.build", "error", "hello", (1, 1)),
        ("detectron2", "info", "Environment info:\nhello", (0, 1)),
        ("detectron2.engine.defaults", "info", "Model:\nhello", (0, 1)),
        ("somebody.else", "info", "hello", (0, 0)),
        ("somebody.else", "warning", "hello", (0, 1)),
        ("somebody.else", "error", "hello", (1, 1)),
        ("torch.utils", "warning", "hello", (0, 1)),
    ],
)
def test_console_and_file(name, level, text, expected, capsys, tmp_path):
    log = set_up(tmp_path)
    getattr(logging.getLogger(name), level)(text)
    assert written(capsys, log, "hello") == expected


def test_no_file_to_load_is_no_news(capsys, tmp_path):
    log = set_up(tmp_path)
    logger = logging.getLogger("detectron2.checkpoint")
    logger.info("[DetectionCheckpointer] Loading from  ...")
    logger.info("[DetectionCheckpointer] Loading from a.pth ...")
    assert written(capsys, log, "Loading") == (1, 2)


def test_records_of_ours_can_be_for_the_file_alone(capsys, tmp_path):
    log = set_up(tmp_path)
    logging.getLogger("tood_d2.engine").info("hello", extra={"file_only": True})
    assert written(capsys, log, "hello") == (0, 1)


def test_the_console_shows_an_error_without_its_traceback(capsys, tmp_path):
    log = set_up(tmp_path)
    try:
        raise ValueError("oh")
    except ValueError:
        logging.getLogger("detectron2.engine.train_loop").exception("Exception during training:")
    assert "Exception during training:" in (console := capsys.readouterr().out)
    assert "Traceback" not in console and "ValueError: oh" not in console
    assert "Traceback" in log() and "ValueError: oh" in log()


def test_an_error_of_a_thread_is_told_in_one_line(capsys, tmp_path):
    log = set_up(tmp_path)
    thread = threading.Thread(target=lambda: [][0])
    thread.start()
    thread.join()
    console = "".join(capsys.readouterr())
    assert "A thread failed: IndexError" in console and console.count("\n") == 1
    assert "Traceback" in log()


def test_warnings_go_to_the_file_and_those_before_it_too(capsys, tmp_path):
    setup_logging()
    warnings.warn("early", stacklevel=1)
    setup_logging(str(tmp_path))
    warnings.warn("later", stacklevel=1)
    log = (tmp_path / "log.txt").read_text
    assert "early" in log() and "later" in log()
    assert "".join(capsys.readouterr()) == ""


def test_warnings_that_the_user_asks_for_stay_on_the_screen(monkeypatch):
    monkeypatch.setattr("sys.warnoptions", ["default"])
    with warnings.catch_warnings(record=True) as shown:
        setup_logging()
        warnings.warn("hello", stacklevel=1)
    assert [str(x.message) for x in shown] == ["hello"]


def test_detectron2s_setup_adds_no_second_console(capsys, tmp_path, monkeypatch):
    log = set_up(tmp_path)
    monkeypatch.setattr("detectron2.engine.defaults.collect_env_info", lambda: "environment")
    default_setup(OmegaConf.create({"train": {"output_dir": str(tmp_path)}}), None)
    logging.getLogger("detectron2").info("hello")
    assert written(capsys, log, "hello") == (1, 1)
    assert log().count("Environment info:\nenvironment") == 1


def test_other_processes_write_files_of_their_own(capsys, tmp_path):
    setup_logging(str(tmp_path), rank=1)
    logging.getLogger("tood_d2").warning("hello")
    log = (tmp_path / "log.txt.rank1").read_text
    assert written(capsys, log, "hello") == (0, 1)
    assert log_file() == str(tmp_path / "log.txt.rank1")


def test_without_a_folder_there_is_no_file(capsys):
    setup_logging(rank=1)
    logging.getLogger("tood_d2").warning("hello")
    assert "".join(capsys.readouterr()) == ""
    assert log_file() is None


def test_errors_while_cleaning_up_go_to_the_file(capsys, tmp_path):
    class Unclean:
        def __del__(self):
            raise OSError("full")

    log = set_up(tmp_path)
    Unclean()
    assert written(capsys, log, "full") == (False, True)
