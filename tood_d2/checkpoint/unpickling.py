"""Loading of pickles and ``torch.save`` files from strangers: nothing in them is executed.

A pickle is a program that may call any function. PyTorch's ``weights_only`` and an allow-list for
other pickles keep it to tensors, NumPy arrays and plain values.
"""

import contextlib
import logging
import mmap
import os
import pickle
import pickletools
import re
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

logger = logging.getLogger(__name__)

_DAMAGED = "no checkpoint, or a damaged one"
_MAX_TRIES = 50  # a stranger's file may name any number of classes
_UNKNOWN_CLASS = re.compile(r"Unsupported global: GLOBAL (\S+)")
_FILLED_STUB = re.compile(r"Can only (append|SETITEM).*but got <class '.*?\.unpickling\.(.+?)'>")
_safe_globals_lock = threading.Lock()  # they are those of all threads


class RefusedFile(ValueError):
    """A file that is not loaded, with the reason."""


class UnknownObject:
    """Stands for an object of an unknown class; it keeps nothing of that object."""

    def __init__(self, *args):
        pass

    def __setstate__(self, state):
        pass


def load_torch_file(path: str | os.PathLike) -> Any:
    """Reads what ``torch.save`` wrote, in its present or its old form, to the CPU.

    Returns:
        Its plain values, tensors and NumPy arrays. An :class:`UnknownObject` stands for each
        object of another kind, and a plain dict or list for what adds to one; the log names their
        classes.

    Raises:
        OSError: if the file cannot be opened.
        RefusedFile: if it is damaged, or executing it is the only way to load it.
    """
    stubs: dict[str, type] = {}
    with open(path, "rb") as file, _refusing_damaged_files(), _safe_globals_lock:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(b"bytearray\n") >= 0:  # PyTorch would make one of any size
                raise RefusedFile(_not_loaded("bytearray"))
            is_zip = content[:4] == b"PK\x03\x04"
        with safe_globals([(x, name) for name, x in _NUMPY.items()]):
            if is_zip:
                _check_parts(path)
                stubs = dict.fromkeys(get_unsafe_globals_in_checkpoint(path), UnknownObject)
            result = _load_with_stubs(path, stubs)
    unknown = sorted(stubs)
    if unknown:
        names = ascii(", ".join(unknown))[1:-1]
        logger.warning(f"{path}: left out objects that are not loaded for safety: {names}")
    return result


def _load_with_stubs(path: str | os.PathLike, stubs: dict[str, type]) -> Any:
    """Loads a file with :class:`UnknownObject` or an empty dict or list for unknown classes.

    PyTorch says in its errors which classes are unknown, and which of them are dicts and lists.

    Args:
        path: of the file.
        stubs: what stands for each unknown class, to be completed.
    """
    for _ in range(_MAX_TRIES):
        with safe_globals([(_stub(name, kind), name) for name, kind in stubs.items()]):
            try:
                return torch.load(path, map_location="cpu", weights_only=True)
            except pickle.UnpicklingError as error:
                unknown = _UNKNOWN_CLASS.search(str(error))
                name = unknown and (unknown[1] if "." in unknown[1] else f"builtins.{unknown[1]}")
                filled = _FILLED_STUB.search(str(error))
                if name and name not in stubs:
                    stubs[name] = UnknownObject
                elif filled and stubs.get(filled[2]) is UnknownObject:
                    stubs[filled[2]] = list if filled[1] == "append" else dict
                else:
                    named = re.findall(r"GLOBAL (\S+)", str(error))[:1] or sorted(stubs)
                    raise RefusedFile(_not_loaded(*named) if named else _DAMAGED) from error
    raise RefusedFile(_not_loaded(*sorted(stubs)[:5]))


def _stub(name: str, kind: type) -> type:
    make = {} if kind is UnknownObject else {"__new__": lambda cls, *args: kind()}
    return type(name, (UnknownObject,), make)


def load_pickle(path: str | os.PathLike) -> Any:
    """Reads a ``.pkl`` file of Detectron2's zoo, Detectron or Caffe2, of any version of Python.

    Raises:
        OSError: if the file cannot be opened.
        RefusedFile: if it is damaged, or holds more than plain values and NumPy arrays.
    """
    with open(path, "rb") as file, _refusing_damaged_files():
        size = os.fstat(file.fileno()).st_size
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name in ("PUT", "LONG_BINPUT") and argument > size:
                raise RefusedFile(_DAMAGED)  # Python would make a table of that length
        file.seek(0)
        return _Unpickler(file, encoding="latin1").load()  # as strings of Python 2 may be bytes


@contextlib.contextmanager
def _refusing_damaged_files():
    """Turns the many errors of damaged files into one."""
    try:
        yield
    except RefusedFile:
        raise
    except Exception as error:
        raise RefusedFile(_DAMAGED) from error


def _check_parts(path: str | os.PathLike) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if any(x.compress_type != zipfile.ZIP_STORED for x in parts):
            raise RefusedFile("is compressed, which torch.save does not do")
        if sum(x.file_size for x in parts) > os.path.getsize(path):
            raise RefusedFile("has parts that together are larger than the file")
        if archive.testzip() is not None:  # PyTorch does not compare checksums
            raise RefusedFile(_DAMAGED)


def _not_loaded(*names: str) -> str:
    printable = ascii(", ".join(names))[1:-1]  # a stranger's, maybe of control characters
    return (
        f"holds {printable}, which is not loaded for safety. If you trust the file, save its "
        "weights to a file of their own"
    )


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable:
        known = _IN_PICKLES.get(f"{module}.{name}")
        if known is None:
            raise RefusedFile(_not_loaded(f"{module}.{name}"))
        return lambda *args: known(*args)  # a pickle may change attributes of what it gets


class _DType:
    """A NumPy type of numbers. NumPy's own would believe what a file says of its layout."""

    def __init__(self, code: str, *_):
        if not re.fullmatch(r"[<>=|]?[biufc]\d{1,2}", code):
            raise RefusedFile(f"holds an array of type {code[:20]!r}, only numbers are loaded")
        self.value = np.dtype(code)

    def __setstate__(self, state: tuple):
        self.value = self.value.newbyteorder(state[1])


class _Array(np.ndarray):
    """An array that is filled with the bytes in the file."""

    def __setstate__(self, state: tuple):
        _, shape, dtype, is_fortran, data = state
        super().__setstate__((1, shape, dtype.value, bool(is_fortran), data))


def _make_scalar(dtype: _DType, data: bytes | str) -> np.generic:
    data = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(data, dtype.value)[0]


def _make_array_of_buffer(data: bytes, dtype: _DType, shape: tuple, order: str, axes=None):
    array = np.frombuffer(data, dtype.value).reshape(shape, order="F" if order == "F" else "C")
    return array if axes is None else array.transpose(axes)


_NUMPY = {"numpy.ndarray": _Array, "numpy.dtype": _DType}
_NUMPY |= dict.fromkeys(("builtins.bytes", "__builtin__.bytes"), lambda: b"")  # empty ones
for _core in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
    _NUMPY[f"{_core}.multiarray._reconstruct"] = lambda *_: _Array(0)
    _NUMPY[f"{_core}.multiarray.scalar"] = _make_scalar
    _NUMPY[f"{_core}.numeric._frombuffer"] = _make_array_of_buffer
_IN_PICKLES = {
    **_NUMPY,
    "collections.OrderedDict": OrderedDict,
    "_codecs.encode": lambda text, _: text.encode("latin1"),  # bytes
}
