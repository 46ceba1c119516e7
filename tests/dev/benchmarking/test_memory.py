"""Peak memory of calls that allocate a known amount."""

import sys

import pytest
import torch
from benchmarking import memory, peak_memory

CPU = torch.device("cpu")
SIZE = 64 * 2**20
on_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux") or peak_memory(lambda: None, CPU) is None,
    reason="the system does not tell",
)


def allocate(size=SIZE):
    return torch.ones(size // 4)  # float32


@on_linux
@pytest.mark.parametrize(
    ("function", "size"),
    [
        (allocate, SIZE),
        (lambda: allocate().sum().item(), SIZE),  # free at the end
        (lambda: [allocate(SIZE // 4) for _ in range(4)], SIZE),
    ],
)
def test_known_amounts(function, size):
    function()  # so that libraries are loaded
    assert peak_memory(function, CPU) == pytest.approx(size, rel=0.1)


@on_linux
def test_what_was_there_before_does_not_count():
    before = allocate()
    allocate()
    assert peak_memory(lambda: None, CPU) < SIZE / 10
    assert 4 * len(before) == SIZE


@pytest.mark.parametrize("file", ["_CLEAR_REFS", "_STATUS"])
def test_system_that_does_not_tell(monkeypatch, tmp_path, file):
    monkeypatch.setattr(memory, file, tmp_path / "none" / "file")
    calls = []
    assert peak_memory(lambda: calls.append(1), CPU) is None
    assert calls == [1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu():
    device = torch.device("cuda")
    function = lambda: torch.ones(SIZE // 4, device=device).sum().item()  # noqa: E731
    function()  # so that libraries are loaded
    assert peak_memory(function, device) == pytest.approx(SIZE, rel=0.1)
