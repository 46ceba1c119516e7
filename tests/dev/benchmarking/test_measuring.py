"""Contenders take turns, one that fails leaves the others alone, and memory is that of the call."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from benchmarking.measuring import Call, compare, describe_machine, peak_memory

DEV = Path(__file__).resolve().parents[3] / "dev"
CPU = torch.device("cpu")
SIZE = 64 * 2**20
on_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux") or peak_memory(lambda: None, CPU) is None,
    reason="the system does not tell",
)


@pytest.fixture(autouse=True)
def leave_garbage(monkeypatch):
    """Collecting it takes longer than all else here."""
    monkeypatch.setattr("gc.collect", lambda: 0)


class Recorder:
    """Makes calls that write down when they run; that of a name fails at a number of its runs."""

    def __init__(self, fails_at=None):
        self.runs = ""
        self.fails_at = fails_at

    def make(self, name):
        def run(argument):
            assert argument == [name]
            argument.append("used")  # every run needs its own
            if self.fails_at == (name, self.runs.count(name)):
                raise RuntimeError(f"{name} as intended\nmore lines")
            self.runs += name

        return Call(run, prepare=lambda: ([name],), flops=7)

    def compare(self, *names):
        makers = {name: lambda name=name: self.make(name) for name in names}
        return compare(makers, rounds=3, warmup=2, device=CPU)


def test_contenders_take_turns():
    recorder = Recorder()
    results, errors = recorder.compare("a", "b", "c")
    assert errors == {}
    # Each timed call follows an untimed one; the last calls are for memory.
    assert recorder.runs == "abc" * 2 + "aabbcc" * 3 + "abc"
    assert list(results) == ["a", "b", "c"]
    for result in results.values():
        assert len(result["seconds"]) == 3 and min(result["seconds"]) > 0
        assert result["flops"] == 7


@pytest.mark.parametrize("run", [0, 3, 8])  # warm-up, a round, memory
def test_a_failing_contender_stops(run):
    recorder = Recorder(fails_at=("b", run))
    results, errors = recorder.compare("a", "b", "c")
    assert errors == {"b": "RuntimeError: b as intended more lines"}
    assert list(results) == ["a", "c"]
    assert [recorder.runs.count(name) for name in "abc"] == [9, run, 9]


def test_a_contender_without_a_call_fails():
    def fail():
        raise ValueError("no call")

    makers = {"a": fail, "b": lambda: Call(lambda: None)}
    results, errors = compare(makers, rounds=1, warmup=0, device=CPU)
    assert errors == {"a": "no call"} and list(results) == ["b"]


@on_linux
@pytest.mark.parametrize("parts", [1, 4])
def test_memory_that_is_free_again_counts(parts):
    # In a process of its own, as this one is full of other tests' garbage.
    code = f"""
import torch
from benchmarking.measuring import peak_memory

def allocate():
    return [torch.ones({SIZE // parts // 4}) for _ in range({parts})]  # float32

allocate()  # so that libraries are loaded
print(peak_memory(lambda: len(allocate()), torch.device("cpu")))
"""
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, cwd=DEV, capture_output=True, check=True, text=True).stdout
    assert int(output) == pytest.approx(SIZE, rel=0.1)


@on_linux
def test_memory_from_before_does_not_count():
    before = torch.ones(SIZE // 4)
    torch.ones(SIZE // 4)
    assert peak_memory(lambda: None, CPU) < SIZE / 10
    assert 4 * len(before) == SIZE


def test_system_that_does_not_tell_its_memory(monkeypatch):
    def fail(*args):
        raise OSError

    monkeypatch.setattr("ctypes.CDLL", fail)
    calls = []
    assert peak_memory(lambda: calls.append(1), CPU) is None
    assert calls == [1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_memory_of_a_gpu():
    device = torch.device("cuda")
    function = lambda: torch.ones(SIZE // 4, device=device).sum().item()  # noqa: E731
    function()  # so that libraries are loaded
    assert peak_memory(function, device) == pytest.approx(SIZE, rel=0.1)


def test_machine():
    machine = describe_machine(CPU)
    assert machine["CPU"] and machine["threads"] == torch.get_num_threads()
    assert machine["instruction set"] == torch.backends.cpu.get_cpu_capability()
    assert machine["torch"] == torch.__version__ and "GPU" not in machine
