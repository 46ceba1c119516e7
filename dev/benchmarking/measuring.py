"""Time and memory of calls, measured in turns, so that whatever else the machine does meets all."""

import ctypes
import gc
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from textwrap import shorten

import torch
import torchvision
from torch.utils.benchmark import Measurement, Timer
from tqdm import tqdm

import detectron2
import tood_d2
from tood_d2.cli.messages import describe

MAX_MESSAGE = 300  # characters; some of PyTorch's have dozens of lines


@dataclass(frozen=True)
class Call:
    """What is measured: ``run``, with arguments that ``prepare`` makes before the clock starts."""

    run: Callable[..., object]
    prepare: Callable[[], tuple] = tuple
    flops: int | None = None
    """Floating-point operations, see ``count_flops``; None if not counted."""

    def __call__(self) -> None:
        self.run(*self.prepare())

    def time(self) -> Measurement:
        """One timed call, after one that is not; a GPU is waited for."""
        timer = Timer(
            "run(*arguments)",
            setup="arguments = prepare()",
            globals={"run": self.run, "prepare": self.prepare},
            num_threads=torch.get_num_threads(),
        )
        return timer.blocked_autorange(min_run_time=0)


def compare(
    makers: dict[str, Callable[[], Call]], *, rounds: int, warmup: int, device: torch.device
) -> tuple[dict[str, dict], dict[str, str]]:
    """Measures calls in turns: every round times one call of each contender.

    Args:
        makers: by the contender's name, what makes its call.
        rounds: number of timed calls of each contender.
        warmup: number of calls of each contender before those.
        device: that the calls compute on.

    Returns:
        ``seconds`` (of each round), ``memory`` (see :func:`peak_memory`) and ``flops`` by name, and
        for contenders that failed, which do not take part any further, what they failed of.
    """
    errors: dict[str, str] = {}

    def each(step: Callable, inputs: dict) -> dict:
        """Results of a step of the contenders that have not failed."""
        results = {}
        for name in [x for x in inputs if x not in errors]:
            try:
                results[name] = step(inputs[name])
            except Exception as error:  # the model may be anyone's
                errors[name] = shorten(describe(error), MAX_MESSAGE)
            if name in errors and device.type == "cuda":
                torch.cuda.empty_cache()  # here the failed call's tensors are gone
        return results

    calls = each(lambda make: make(), makers)
    for _ in range(warmup):
        each(Call.__call__, calls)
    # Silent unless in a terminal.
    times = [each(Call.time, calls) for _ in tqdm(range(rounds), unit="round", disable=None)]
    memory = each(lambda call: peak_memory(partial(call.run, *call.prepare()), device), calls)
    results = {}
    for name in memory:
        seconds = [x[name].median for x in times]
        results[name] = {"seconds": seconds, "memory": memory[name], "flops": calls[name].flops}
    return results, errors


def peak_memory(function: Callable[[], object], device: torch.device) -> int | None:
    """Calls a function and tells the memory that it needs, also if it is free again afterwards.

    On a GPU that is what PyTorch allocates there. On a CPU it is the resident set of the process,
    with what the allocator keeps of memory that the function frees.

    Returns:
        Bytes at the peak beyond those before; None on a CPU without Linux and glibc.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        return torch.cuda.max_memory_allocated(device) - before
    try:
        # Else the allocator serves the function from what earlier calls have left.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # from here on the peak counts anew
        before = _resident_set("VmRSS")
    except (AttributeError, OSError, TypeError):
        before = None
    function()
    return None if before is None else max(_resident_set("VmHWM") - before, 0)


def _resident_set(key: str) -> int:
    """Bytes by a key of the process's status."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"^{key}:\s*(\d+) kB$", status, re.MULTILINE)[1])


def describe_machine(device: torch.device) -> dict:
    """What a measurement depends on besides the detectors: hardware and versions, by name."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.is_file() else []
    machine = {
        "CPU": names[0] if names else platform.machine(),
        "instruction set": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        machine |= {"GPU": torch.cuda.get_device_name(device), "CUDA": torch.version.cuda}
        machine["TF32"] = torch.backends.cudnn.allow_tf32
    return machine | {x.__name__: x.__version__ for x in (torch, torchvision, detectron2, tood_d2)}
