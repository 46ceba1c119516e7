"""A start in half the time, by importing less and without looking for garbage meanwhile."""

import contextlib
import functools
import gc
import sys
from collections.abc import Iterator
from types import ModuleType

_UTILS = "torch._dynamo.utils"


@contextlib.contextmanager
def fast_imports(compiler: bool = True) -> Iterator[None]:
    """What is imported within is imported in less time.

    Args:
        compiler: whether PyTorch's compiler will be used in this process; else it is not imported,
            as Detectron2 and torchvision do only to ask whether they are being compiled.
    """
    enabled = gc.isenabled()
    gc.disable()  # what imports make stays, and looking for garbage in it takes a fifth of the time
    try:
        if not compiler:
            _import_without_compiler()
        yield
    finally:
        if enabled:
            gc.enable()


def _import_without_compiler() -> None:
    """Imports Detectron2 and torchvision, without what takes a third of their time.

    They work as ever, but ``torch.compile`` would not know of functions that it should leave alone.
    """
    if "torch._dynamo" in sys.modules or "detectron2.layers" in sys.modules:
        return
    import torch.compiler

    def disable(fn=None, **kwargs):
        return fn if fn else functools.partial(disable, **kwargs)

    utils = ModuleType(_UTILS)  # of which torchvision imports one function, for RoIAlign
    utils.is_compile_supported = _is_compile_supported
    original, torch.compiler.disable = torch.compiler.disable, disable
    sys.modules[_UTILS] = utils
    try:
        import torchvision.tv_tensors  # noqa: F401

        from detectron2.layers import wrappers

        # Detectron2's own imports the compiler at each convolution, to ask it the same.
        wrappers.check_if_dynamo_compiling = torch.compiler.is_compiling
    finally:
        torch.compiler.disable = original
        del sys.modules[_UTILS]


def _is_compile_supported(device_type: str) -> bool:
    from torch._dynamo.utils import is_compile_supported

    return is_compile_supported(device_type)
