"""Unpickling of files from strangers.

A pickle is a program that may call any function. Here it makes plain values and NumPy arrays only,
and no more of them than its file has room for.
"""

import contextlib
import math
import mmap
import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from struct import unpack
from typing import Any, BinaryIO, NamedTuple

import numpy as np

MAX_READS = 2_000_000  # of a pickle, about as many as its instructions


class RefusedFile(ValueError):
    """A file that is not loaded, with the reason."""


@contextlib.contextmanager
def refusing_damaged_files():
    """Turns the many errors that a damaged or hostile file may cause into one."""
    try:
        yield
    except RefusedFile:
        raise
    except Exception as error:
        raise RefusedFile("no checkpoint, or a damaged one") from error


class Function(NamedTuple):
    """What stands for a function of a pickle. It is called by the pickle only."""

    call: Callable


class Source:
    """The bytes of a pickle, given in a limited number of pieces."""

    def __init__(self, file: BinaryIO | mmap.mmap):
        self.file = file
        self.num_reads = 0

    def read(self, size: int) -> bytes:
        self._count()
        data = self.file.read(size)
        if len(data) < size:
            raise EOFError
        return data

    def readline(self) -> bytes:
        self._count()
        return self.file.readline()

    def _count(self) -> None:
        self.num_reads += 1
        if self.num_reads > MAX_READS:
            raise RefusedFile("has more parts than any checkpoint")


def check_shape(shape: Sequence[int], room: int) -> None:
    """Refuses what is no shape, and shapes of more than ``room`` elements."""
    if not isinstance(shape, tuple) or len(shape) > 64:
        raise RefusedFile("holds an array of an impossible shape")
    if not all(isinstance(x, int) and 0 <= x < 2**63 for x in shape) or math.prod(shape) > room:
        raise RefusedFile(f"holds an array of shape {shape}, but not as many numbers")


# The one in Python, as C's memo takes as much memory as a file asks for.
class RestrictedUnpickler(pickle._Unpickler):
    """Makes plain values, NumPy arrays and what a subclass adds to ``known``."""

    # Without sets and, other than by the functions that are known, objects.
    dispatch = {
        code[0]: pickle._Unpickler.dispatch[code[0]]
        for code in (
            pickle.PROTO, pickle.STOP, pickle.MARK, pickle.POP, pickle.POP_MARK, pickle.DUP,
            pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.INT, pickle.BININT,
            pickle.BININT1, pickle.BININT2, pickle.LONG, pickle.LONG1, pickle.LONG4, pickle.FLOAT,
            pickle.BINFLOAT, pickle.STRING, pickle.BINSTRING, pickle.SHORT_BINSTRING,
            pickle.UNICODE, pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.BINUNICODE8,
            pickle.BINBYTES, pickle.SHORT_BINBYTES, pickle.BINBYTES8, pickle.LIST, pickle.TUPLE,
            pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.EMPTY_TUPLE, pickle.EMPTY_LIST,
            pickle.EMPTY_DICT, pickle.GET, pickle.BINGET, pickle.LONG_BINGET, pickle.PUT,
            pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE, pickle.GLOBAL,
            pickle.STACK_GLOBAL, pickle.BINPERSID,
        )
    }  # fmt: skip

    def __init__(self, source: Source, size: int):
        """
        Args:
            source: of the pickle.
            size: of its file in bytes.
        """
        super().__init__(source, encoding="latin1")  # for the strings of Python 2
        self.room = 2 * size  # as old pickles make an array's bytes from a text first
        self.known: dict[str, Any] = {
            "collections.OrderedDict": Function(self._make_dict),
            "_codecs.encode": Function(self._encode),
            "numpy.ndarray": np.ndarray,
            "numpy.dtype": Function(_make_dtype),
        }
        self.known |= dict.fromkeys(("builtins.bytes", "__builtin__.bytes"), Function(_no_bytes))
        for core in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
            self.known |= {
                f"{core}.multiarray._reconstruct": Function(_make_empty_array),
                f"{core}.multiarray.scalar": Function(_make_scalar),
                f"{core}.numeric._frombuffer": Function(_make_array),
            }

    def claim(self, size: int) -> None:
        """Takes room for bytes or items that are not themselves in the file."""
        self.room -= size
        if self.room < 0:
            raise RefusedFile("holds less than it makes up")

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        if full_name not in self.known:
            raise RefusedFile(
                f"holds {ascii(full_name[:100])[1:-1]}, which is not loaded for safety. If you "
                "trust the file, save its weights to a file of their own"
            )
        return self.known[full_name]

    def load_frame(self):
        self.read(8)  # its size, of no use here

    def load_bytearray8(self):
        (size,) = unpack("<Q", self.read(8))
        self.append(bytearray(self.read(size)))

    def load_append(self):
        item = self.stack.pop()
        self._top(list).append(item)

    def load_appends(self):
        items = self.pop_mark()
        self._top(list).extend(items)

    def load_dict(self):
        items = self.pop_mark()
        self.append({})
        self._set_items(items)

    def load_setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self):
        self._set_items(self.pop_mark())

    def load_reduce(self):
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Function):
            raise RefusedFile("calls what is no function")
        self.append(function.call(*arguments))

    def load_build(self):
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, np.ndarray):
            self._fill_array(target, state)
        elif isinstance(target, np.dtype):
            _set_byte_order(target, state)
        elif isinstance(target, OrderedDict) and state.keys() == {"_metadata"}:
            target._metadata = state["_metadata"]  # PyTorch's, of a state dict
        else:
            raise RefusedFile(f"sets the state of a {type(target).__name__}")

    dispatch |= {
        pickle.FRAME[0]: load_frame,
        pickle.BYTEARRAY8[0]: load_bytearray8,
        pickle.APPEND[0]: load_append,
        pickle.APPENDS[0]: load_appends,
        pickle.DICT[0]: load_dict,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.REDUCE[0]: load_reduce,
        pickle.BUILD[0]: load_build,
    }

    def _top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise RefusedFile(f"takes a {type(self.stack[-1]).__name__} for a {kind.__name__}")
        return self.stack[-1]

    def _set_items(self, items: list) -> None:
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | bytes | int | float | None):  # deep tuples crash Python
                raise RefusedFile(f"has a {type(key).__name__} as a key")
            target[key] = value

    def _make_dict(self, items: list = ()) -> OrderedDict:
        self.claim(len(items))
        return OrderedDict((str(key), value) for key, value in items)

    def _encode(self, text: str, encoding: str) -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise RefusedFile(f"holds text in {encoding!r}")
        self.claim(len(text))
        return text.encode("latin1")

    def _fill_array(self, array: np.ndarray, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        data = data.encode("latin1") if isinstance(data, str) else bytes(data)
        self.claim(len(data))
        check_shape(shape, len(data) // _checked(dtype).itemsize)
        array.__setstate__((1, shape, dtype, bool(is_fortran), data))


def _checked(dtype: np.dtype) -> np.dtype:
    if not isinstance(dtype, np.dtype):
        raise RefusedFile("holds an array without a type")
    return dtype


def _make_dtype(code: str, *_) -> np.dtype:
    if not isinstance(code, str) or not re.fullmatch(r"[<>=|]?[biufc]\d{1,2}", code):
        raise RefusedFile(f"holds an array of type {str(code)[:20]!r}, only numbers are loaded")
    return np.dtype(code, copy=True)


def _set_byte_order(dtype: np.dtype, state: tuple) -> None:
    if state[1] not in ("<", ">", "=", "|") or any(x is not None for x in state[2:5]):
        raise RefusedFile("holds an array of structures, only numbers are loaded")
    dtype.__setstate__((3, state[1], None, None, None, -1, -1, 0))


def _make_empty_array(kind: type, shape: tuple, code: bytes) -> np.ndarray:
    if kind is not np.ndarray or shape != (0,):
        raise RefusedFile(f"holds an array made up of nothing, of shape {shape}")
    return np.empty(0, np.uint8)


def _make_scalar(dtype: np.dtype, data: bytes | str) -> np.generic:
    data = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(data, _checked(dtype)).reshape(())[()]


def _make_array(
    data: bytes | bytearray, dtype: np.dtype, shape: tuple, order: str, axes: tuple | None = None
) -> np.ndarray:
    array = np.frombuffer(data, _checked(dtype))
    if order == "K":
        return array.reshape(shape).transpose(axes)
    return array.reshape(shape, order=order)


def _no_bytes() -> bytes:
    return b""


def load_pickle(path: str | os.PathLike) -> dict:
    """Reads a ``.pkl`` file of the model zoo of Detectron2, Detectron or Caffe2.

    Args:
        path: of the file, by any version of Python and NumPy.

    Returns:
        Its plain values and NumPy arrays.

    Raises:
        FileNotFoundError: if there is no such file.
        RefusedFile: if it holds anything else; nothing of it is executed.
    """
    # A map is read no further than it goes, whatever length the pickle gives.
    with (
        open(path, "rb") as file,
        refusing_damaged_files(),
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        checkpoint = RestrictedUnpickler(Source(content), len(content)).load()
    if not isinstance(checkpoint, dict):
        raise RefusedFile("holds no state dict")
    return checkpoint
