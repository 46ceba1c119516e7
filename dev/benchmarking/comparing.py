"""Measures contenders in turns, so that whatever else the machine does meets all alike."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from .compute import count_flops
from .memory import peak_memory

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """What is measured: ``run``, with arguments that ``prepare`` makes before the clock starts."""

    run: Callable[..., object]
    prepare: Callable[[], tuple] = tuple


@dataclass(frozen=True)
class Measurement:
    """Of one contender at one point of the sweep."""

    seconds: list[float]
    """Time of each round."""
    memory: int | None
    """Bytes at the peak beyond those at the start; None where that cannot be measured."""
    flops: int | None
    """Floating-point operations, see :func:`count_flops`; None unless counted."""


def compare(
    makers: dict[str, Callable[[], Call]],
    *,
    rounds: int,
    warmup: int,
    device: torch.device,
    with_flops: bool,
    on_step: Callable[[], object] = lambda: None,
) -> tuple[dict[str, Measurement], dict[str, str]]:
    """Measures the calls of all contenders.

    Contenders take turns: every round has one timed call of each. Operations are counted before,
    memory is measured after all rounds, in calls of their own.

    Args:
        makers: by the contender's name, what makes its call.
        rounds: number of timed calls of each contender.
        warmup: number of calls of each contender before those.
        device: that the calls compute on; it is synchronised before and after each timed call.
        with_flops: whether to count operations.
        on_step: is called :func:`num_steps` times, for progress.

    Returns:
        The measurements by name, and for contenders that failed, which do not take part any
        further, what they failed of.
    """
    errors: dict[str, str] = {}

    def each(step: Callable[[str], T]) -> dict[str, T]:
        """Results of a step of the contenders that have not failed."""
        results = {}
        for name in makers:
            if name not in errors:
                try:
                    results[name] = step(name)
                except Exception as error:
                    errors[name] = describe_error(error)
            if name in errors and device.type == "cuda":
                torch.cuda.empty_cache()  # here the failed call's tensors are gone
            on_step()
        return results

    calls = each(lambda name: makers[name]())
    flops = each(lambda name: count_flops(_prepared(calls[name]))) if with_flops else {}
    for _ in range(warmup):
        each(lambda name: _prepared(calls[name])())
    rounds_by_name = [each(lambda name: _time(calls[name], device)) for _ in range(rounds)]
    memory = each(lambda name: peak_memory(_prepared(calls[name]), device))
    measurements = {
        name: Measurement([times[name] for times in rounds_by_name], memory[name], flops.get(name))
        for name in memory
    }
    return measurements, errors


def num_steps(num_contenders: int, rounds: int, warmup: int, with_flops: bool) -> int:
    """How often :func:`compare` calls ``on_step``."""
    return num_contenders * (rounds + warmup + 2 + with_flops)


def _prepared(call: Call) -> Callable[[], object]:
    arguments = call.prepare()
    return lambda: call.run(*arguments)


def _time(call: Call, device: torch.device) -> float:
    """Seconds that a call takes."""
    run = _prepared(call)
    _synchronize(device)
    start = time.perf_counter()
    run()
    _synchronize(device)
    return time.perf_counter() - start


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def describe_error(error: Exception) -> str:
    """The first line: PyTorch's messages have dozens. With the type unless that says nothing."""
    line = str(error).strip().partition("\n")[0]
    if line and isinstance(error, (OSError, ValueError)):
        return line
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
