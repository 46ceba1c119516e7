"""Reading of ``torch.save`` files from strangers.

``torch.load(weights_only=True)`` executes nothing of a file. But it believes the sizes that the
file gives, so that a hundred bytes can fill the memory.
"""

import mmap
import os
import zipfile
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .restricted_pickle import (
    Function,
    RefusedFile,
    RestrictedUnpickler,
    Source,
    check_shape,
    refusing_damaged_files,
)

_STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexDouble": torch.complex128,
    "ComplexFloat": torch.complex64,
}
_DTYPES = {str(x): x for x in vars(torch).values() if isinstance(x, torch.dtype)}
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001  # before PyTorch 1.6


def load_torch_file(path: str | os.PathLike) -> Any:
    """Reads what ``torch.save`` wrote, to the CPU.

    Args:
        path: of the file.

    Returns:
        Its plain values, tensors and NumPy arrays. Parameters become tensors.

    Raises:
        FileNotFoundError: if there is no such file.
        RefusedFile: if it holds anything else; nothing of it is executed.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        with refusing_damaged_files():
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as archive:
                    return _load_zip(archive, size)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _load_legacy(content)


class _TensorUnpickler(RestrictedUnpickler):
    """Adds tensors, whose storages are found elsewhere in the file."""

    def __init__(self, source: Source, size: int, read_storage: Callable[[str, int], Tensor]):
        """
        Args:
            source, size: see :class:`RestrictedUnpickler`.
            read_storage: gives the uint8 tensor of a storage, from its key and size.
        """
        super().__init__(source, size)
        self.read_storage = read_storage
        self.storages: dict[str, Tensor] = {}
        self.known |= _DTYPES
        self.known |= {f"torch.{name}Storage": x for name, x in _STORAGES.items()}
        self.known |= {f"torch.cuda.{name}Storage": x for name, x in _STORAGES.items()}
        self.known |= {
            "torch.storage.UntypedStorage": torch.uint8,
            "torch.Size": Function(self._make_size),
            "torch.device": Function(torch.device),
            "torch._utils._rebuild_tensor": Function(_make_tensor),
            "torch._utils._rebuild_tensor_v2": Function(_make_tensor),
            "torch._utils._rebuild_tensor_v3": Function(_make_tensor_of_type),
            "torch._utils._rebuild_parameter": Function(lambda data, *_: data),
            "collections.Counter": Function(self._make_counter),  # of schedulers
        }

    def persistent_load(self, pid: tuple) -> Tensor:
        kind, dtype, key, _, numel, *view = pid
        if kind != "storage" or not isinstance(key, str) or any(view):
            raise RefusedFile(f"refers to a {str(kind)[:20]} that is not loaded")
        if key not in self.storages:
            self.storages[key] = self.read_storage(key, numel * dtype.itemsize)
        return self.storages[key].view(dtype)

    def _make_size(self, size: tuple) -> torch.Size:
        self.claim(len(size))
        return torch.Size(size)

    def _make_counter(self, counts: dict) -> Counter:
        self.claim(len(counts))
        return Counter(counts)


def _make_tensor(storage: Tensor, offset: int, size: tuple, stride: tuple, *rest) -> Tensor:
    if any(rest[2:]):
        raise RefusedFile("holds a conjugate or negated view")
    check_shape(size, storage.numel())
    return storage.as_strided(size, stride, offset)


def _make_tensor_of_type(storage, offset, size, stride, grad, hooks, dtype, *rest) -> Tensor:
    return _make_tensor(storage.view(dtype), offset, size, stride, grad, hooks, *rest)


def _as_tensor(data: bytes | bytearray) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else _NO_BYTES


_NO_BYTES = torch.empty(0, dtype=torch.uint8)


def _load_zip(archive: zipfile.ZipFile, size: int) -> Any:
    entries = {x.filename: x for x in archive.infolist()}
    if any(x.compress_type != zipfile.ZIP_STORED for x in entries.values()):
        raise RefusedFile("is compressed, which torch.save does not do")
    if sum(max(x.file_size, x.compress_size) for x in entries.values()) > size:
        raise RefusedFile("has parts that together are larger than the file")
    (root,) = (name[: -len("/data.pkl")] for name in entries if name.endswith("/data.pkl"))
    if f"{root}/byteorder" in entries and archive.read(f"{root}/byteorder") != b"little":
        raise RefusedFile("has its numbers in big-endian order")

    def read_storage(key: str, size: int) -> Tensor:
        entry = entries[f"{root}/data/{key}"]
        if entry.file_size != size:
            raise RefusedFile(f"has a storage of {entry.file_size} bytes that should be {size}")
        return _as_tensor(archive.read(entry))

    with archive.open(f"{root}/data.pkl") as file:
        return _TensorUnpickler(Source(file), size, read_storage).load()


def _load_legacy(content: mmap.mmap) -> Any:
    def allocate(key: str, size: int) -> Tensor:
        unpickler.claim(size)
        return torch.zeros(size, dtype=torch.uint8)

    source, size = Source(content), len(content)
    magic, version, system = (RestrictedUnpickler(source, size).load() for _ in range(3))
    if (magic, version, system["little_endian"]) != (_LEGACY_MAGIC, _LEGACY_VERSION, True):
        raise RefusedFile("is of an unknown version of torch.save")
    unpickler = _TensorUnpickler(source, size, allocate)
    checkpoint = unpickler.load()
    keys = RestrictedUnpickler(source, size).load()
    for key in keys:
        storage = unpickler.storages.pop(key)
        source.read(8)  # its number of elements
        storage.copy_(_as_tensor(source.read(storage.numel())))
    if unpickler.storages:
        raise RefusedFile("lacks the numbers of a tensor")
    return checkpoint
