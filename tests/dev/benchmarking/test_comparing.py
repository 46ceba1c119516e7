"""Contenders take turns, and one that fails leaves the others alone."""

import pytest
import torch
from benchmarking import Call, compare, num_steps
from benchmarking.comparing import describe_error

CPU = torch.device("cpu")
SETTINGS = {"rounds": 3, "warmup": 2, "device": CPU, "with_flops": False}


class Recorder:
    """Makes calls that write down when they are prepared and when they run."""

    def __init__(self, *, fails_at=None):
        self.events = []
        self.fails_at = fails_at  # (name, number of the run from 0)

    def make(self, name):
        self.events.append(f"make {name}")

        def run(argument):
            if self.fails_at == (name, self.events.count(f"run {name}")):
                raise RuntimeError(f"{name} as intended\nmore lines")
            assert argument == name
            self.events.append(f"run {name}")

        def prepare():
            self.events.append(f"prepare {name}")
            return (name,)

        return Call(run, prepare)

    def makers(self, *names):
        return {name: lambda name=name: self.make(name) for name in names}


def test_contenders_take_turns():
    recorder = Recorder()
    measurements, errors = compare(recorder.makers("a", "b", "c"), **SETTINGS)
    assert errors == {}
    runs = [x.removeprefix("run ") for x in recorder.events if x.startswith("run")]
    assert "".join(runs) == "abc" * (2 + 3 + 1)  # the last ones are for memory
    assert list(measurements) == ["a", "b", "c"]
    for measurement in measurements.values():
        assert len(measurement.seconds) == 3 and min(measurement.seconds) > 0
        assert measurement.flops is None


def test_every_run_is_prepared():
    recorder = Recorder()
    compare(recorder.makers("a"), **SETTINGS)
    assert recorder.events == ["make a", *["prepare a", "run a"] * 6]


@pytest.mark.parametrize("run", [0, 3, 5])  # warm-up, a round, memory
def test_a_failing_contender_stops(run):
    recorder = Recorder(fails_at=("b", run))
    measurements, errors = compare(recorder.makers("a", "b", "c"), **SETTINGS)
    assert errors == {"b": "RuntimeError: b as intended"}
    assert list(measurements) == ["a", "c"]
    assert [recorder.events.count(f"run {name}") for name in "abc"] == [6, run, 6]


def test_a_contender_without_a_call_fails():
    def fail():
        raise ValueError("no call")

    measurements, errors = compare({"a": fail, **Recorder().makers("b")}, **SETTINGS)
    assert errors == {"a": "no call"}
    assert list(measurements) == ["b"]


@pytest.mark.parametrize("with_flops", [False, True])
def test_steps(with_flops):
    settings = SETTINGS | {"with_flops": with_flops}
    steps = []
    recorder = Recorder(fails_at=("a", 1))
    compare(recorder.makers("a", "b"), **settings, on_step=lambda: steps.append(1))
    del settings["device"]
    assert len(steps) == num_steps(2, **settings)


def test_operations():
    a = torch.rand(3, 5)
    measurements, _ = compare(
        {"a": lambda: Call(lambda: a @ a.T)}, **SETTINGS | {"with_flops": True}
    )
    assert measurements["a"].flops == 2 * 3 * 5 * 3


def test_descriptions_are_one_line():
    assert describe_error(ValueError("a\nb")) == "a"
    assert describe_error(KeyError("a")) == "KeyError: 'a'"
    assert describe_error(MemoryError()) == "MemoryError"
    assert describe_error(ValueError()) == "ValueError"
