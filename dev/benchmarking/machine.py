"""What a measurement depends on besides the detectors."""

import os
import platform
import re
from pathlib import Path

import torch
import torchvision

import detectron2
import tood_d2


def describe_machine(device: torch.device) -> dict:
    """Hardware and versions.

    Returns:
        ``cpu`` (its model), ``cores`` that the process may use, ``threads`` that PyTorch uses,
        ``gpu`` (its name, None for a CPU), ``tf32`` (whether float32 convolutions use it) and
        ``versions`` by name.
    """
    on_gpu = device.type == "cuda"
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "detectron2": detectron2.__version__,
        "tood_d2": tood_d2.__version__,
    }
    if on_gpu:
        versions |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
    return {
        "cpu": _cpu_name(),
        "cores": _num_cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if on_gpu else None,
        "tf32": on_gpu and torch.backends.cudnn.allow_tf32,
        "versions": versions,
    }


def _cpu_name() -> str:
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:  # not Linux
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()
