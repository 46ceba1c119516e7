"""Peak memory of a call."""

import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path

import torch

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def peak_memory(function: Callable[[], object], device: torch.device) -> int | None:
    """Calls a function and tells the memory that it needs, also if it is free again afterwards.

    On a GPU that is what PyTorch allocates there. On a CPU it is the resident set of the process,
    with what the allocator keeps of memory that the function frees; the system has to be Linux
    with glibc.

    Returns:
        Bytes at the peak beyond those before, None where that is unknown.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    before = _reset_peak_resident_set()
    function()
    return None if before is None else max(_resident_set("VmHWM") - before, 0)


def _reset_peak_resident_set() -> int | None:
    """Bytes in the resident set, from where its peak counts again; None where that is unknown."""
    try:
        # Else the allocator serves the function from what earlier calls have left.
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR_REFS.write_text("5")
        return _resident_set("VmRSS")
    except (AttributeError, OSError, TypeError, ValueError):
        return None


def _resident_set(key: str) -> int:
    """Bytes of a key of the process's status; raises ValueError if it has none."""
    match = re.search(rf"^{key}:\s*(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    if match is None:
        raise ValueError(f"{_STATUS} has no {key}")
    return 1024 * int(match[1])
