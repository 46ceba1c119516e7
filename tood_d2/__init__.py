"""TOOD, task-aligned one-stage object detection, for Detectron2."""

import importlib
import sys
import warnings

if sys.version_info < (3, 10):  # noqa: UP036, before anything fails on what is new in it
    _version = ".".join(map(str, sys.version_info[:3]))
    raise ImportError(f"tood_d2 needs Python 3.10 or newer; {sys.executable} is {_version}")

__version__ = "0.1.0"

__all__ = ["TOOD", "add_tood_config", "optimize_for_inference"]

# Of Detectron2's and fvcore's code, about which their users can do nothing.
for _message in ("`torch.jit.script` is deprecated", "torch.meshgrid: in an upcoming release"):
    warnings.filterwarnings("ignore", _message)

_MODULES = {
    "TOOD": ".modeling",
    "add_tood_config": ".config.keys",
    "optimize_for_inference": ".inference.optimization",
}


def __getattr__(name: str):
    """Imports PyTorch, which takes seconds, only for who uses it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    importlib.import_module(".modeling", __name__)  # registers TOOD, its backbone and its weights
    return getattr(importlib.import_module(_MODULES[name], __name__), name)


def __dir__() -> list[str]:
    """The names, also of what is imported only when it is used."""
    return sorted({*globals(), *__all__})
