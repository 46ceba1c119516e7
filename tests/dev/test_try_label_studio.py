"""What dev/try_label_studio.py checks is refused where it is wrong."""

import copy
import sys

import pytest

pytest.importorskip("requests")


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("dev/try_label_studio.py")


@pytest.fixture
def predictions():
    value = {"x": 10.0, "y": 20.0, "width": 90.0, "height": 80.0, "rectanglelabels": ["cat"]}
    return [{"result": [{"value": dict(value), "score": 0.5}]} for _ in range(10)]


def test_sound_predictions(script, predictions):
    script.check_predictions(predictions, ["cat"])


@pytest.mark.parametrize(
    "change", [{"width": 90.1}, {"y": -1.0}, {"rectanglelabels": ["dog"]}], ids=str
)
def test_wrong_predictions(script, predictions, change):
    predictions[3]["result"][0]["value"].update(copy.deepcopy(change))
    with pytest.raises(AssertionError):
        script.check_predictions(predictions, ["cat"])


def test_a_task_without_prediction(script, predictions):
    with pytest.raises(AssertionError, match="9 predictions"):
        script.check_predictions(predictions[1:], ["cat"])
    with pytest.raises(AssertionError, match="nothing was detected"):
        script.check_predictions([{"result": []}] * 10, ["cat"])


def test_a_server_that_does_not_start(script, tmp_path):
    command = [sys.executable, "-c", "raise SystemExit('no port is free')"]
    url = f"http://127.0.0.1:{script.free_port()}"
    with (
        pytest.raises(ChildProcessError, match="has ended: no port is free"),
        script.started(command, {}, url, tmp_path / "log"),
    ):
        raise AssertionError("not reached")
