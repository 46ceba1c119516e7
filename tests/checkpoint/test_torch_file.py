"""Files of ``torch.save``, and those that only look like them."""

import io
import pickle
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from tood_d2.checkpoint.torch_file import load_torch_file


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


def checkpoint():
    """What checkpoints of training hold."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(net.parameters())
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    net(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    shared = torch.arange(6)
    return {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "views": [shared, shared[2:], shared.view(2, 3).T],
        "types": [
            torch.ones(2, dtype=dtype)
            for dtype in (torch.float16, torch.bfloat16, torch.int8, torch.bool, torch.complex64)
        ],
        "empty": torch.empty(0, 4),
        "scalar": torch.tensor(2.5),
        "parameter": nn.Parameter(torch.ones(2)),
        "size": torch.Size([2, 3]),
        "dtype": torch.float16,
        "names": ("a", ["b", None, True, 1.5, b"bytes"]),
    }


def assert_same(actual, expected):
    if isinstance(expected, torch.Tensor):
        assert actual.dtype == expected.dtype
        assert torch.equal(actual, expected)
    elif isinstance(expected, dict):
        assert type(actual) is type(expected) and list(actual) == list(expected)
        for key, value in expected.items():
            assert_same(actual[key], value)
    elif isinstance(expected, list | tuple):
        assert type(actual) is type(expected)
        for ours, theirs in zip(actual, expected, strict=True):
            assert_same(ours, theirs)
    else:
        assert actual == expected


@pytest.mark.parametrize("options", [{}, {"pickle_protocol": 4}, {"legacy": True}])
def test_everything_comes_back(path, options):
    expected = checkpoint()
    zipped = not options.pop("legacy", False)
    torch.save(expected, path, _use_new_zipfile_serialization=zipped, **options)
    loaded = load_torch_file(path)
    assert_same(loaded, expected)
    assert loaded["model"]._metadata == expected["model"]._metadata
    assert isinstance(loaded["scheduler"]["milestones"], Counter)
    first, second, _ = loaded["views"]
    first[2] = 9
    assert second[0] == 9  # they still share their numbers


def test_small_floats(path):
    expected = torch.arange(4.0).to(torch.float8_e4m3fn)
    torch.save({"w": expected}, path)
    loaded = load_torch_file(path)["w"]
    assert loaded.dtype == expected.dtype and torch.equal(loaded.float(), expected.float())


class Call:
    """Pickled as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (Call(exec, "open('marker', 'w')"), "holds (builtins|__builtin__).exec, which"),
        (Call(bytearray, 2**45), "holds .*bytearray, which"),
        (Call(torch.Tensor, 2**40), "holds torch.Tensor, which"),
        (Call(np.load, "marker"), "holds numpy.load, which"),
        (Call(torch.load, "marker"), "holds torch.serialization.load, which"),
    ],
)
def test_calls(path, call, message, zipped, limited_memory, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"w": torch.ones(1), "x": call}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=message):
        load_torch_file(path)
    assert [x.name for x in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_tensor_larger_than_its_storage(path, zipped):
    tensor = torch.zeros(1).expand(2**40)
    torch.save({"w": tensor}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"shape \(1099511627776,\), but not as many numbers"):
        load_torch_file(path)


def test_a_deep_structure(path):
    content = {"w": torch.ones(1)}
    content["itself"] = content
    torch.save(content, path)
    loaded = load_torch_file(path)
    assert loaded["itself"] is loaded


def rewritten(path, change=lambda name, data: data, compression=zipfile.ZIP_STORED):
    """Writes the parts of an archive anew."""
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, data in parts.items():
            new.writestr(name, change(name, data))


class TestArchives:
    @pytest.fixture(autouse=True)
    def saved(self, path):
        torch.save({"w": torch.zeros(1000)}, path)

    def refused(self, path, message):
        with pytest.raises(ValueError, match=message):
            load_torch_file(path)

    def test_as_it_is(self, path):
        rewritten(path)
        assert load_torch_file(path)["w"].shape == (1000,)

    def test_compressed(self, path, limited_memory):
        def blow_up(name, data):
            return bytes(2**28) if name.endswith("data/0") else data

        rewritten(path, blow_up, zipfile.ZIP_DEFLATED)
        assert path.stat().st_size < 2**20
        self.refused(path, "is compressed")

    def test_overlapping_parts(self, path):
        data = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            sizes = {x.filename: x for x in archive.infolist()}
        entry = next(x for name, x in sizes.items() if name.endswith("data/0"))
        old, new = (x.to_bytes(4, "little") * 2 for x in (entry.file_size, 2**30))
        assert data.count(old) >= 1
        path.write_bytes(data.replace(old, new))
        self.refused(path, "larger than the file|damaged")

    def test_storage_of_another_size(self, path):
        rewritten(path, lambda name, data: data[:400] if name.endswith("data/0") else data)
        self.refused(path, "storage of 400 bytes that should be 4000")

    def test_no_storage(self, path):
        rewritten(
            path, lambda name, data: data.replace(b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x007")
        )
        self.refused(path, "no checkpoint, or a damaged one")

    def test_big_endian(self, path):
        rewritten(path, lambda name, data: b"big" if name.endswith("byteorder") else data)
        self.refused(path, "big-endian")

    def test_damaged(self, path):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        self.refused(path, "damaged")

    def test_any_archive(self, path):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "a")
        self.refused(path, "no checkpoint")


class TestLegacy:
    def save(self, path, content, change=lambda data: data):
        torch.save(content, path, _use_new_zipfile_serialization=False)
        path.write_bytes(change(path.read_bytes()))

    def test_huge_storage(self, path, limited_memory):
        def claim(data):
            assert b"M\xe8\x03" in data  # 1000 elements
            return data.replace(b"M\xe8\x03", b"\x8a\x05\x00\x00\x00\x00\x01")  # 2**32

        self.save(path, {"w": torch.zeros(1000)}, claim)
        with pytest.raises(ValueError, match="less than it makes up|no checkpoint"):
            load_torch_file(path)

    def test_truncated(self, path):
        self.save(path, {"w": torch.zeros(1000)}, lambda data: data[:-4])
        with pytest.raises(ValueError, match="damaged"):
            load_torch_file(path)

    def test_numbers_that_are_missing(self, path):
        self.save(path, {"w": torch.zeros(10)}, lambda data: data[: data.rindex(b"\x80")] + b"].")
        with pytest.raises(ValueError, match="lacks the numbers"):
            load_torch_file(path)


@pytest.mark.parametrize("data", [b"", b"a", b"<!DOCTYPE html>", b"PK\x03\x04", b"\x80\x02}."])
def test_other_files(path, data):
    path.write_bytes(data)
    with pytest.raises(ValueError, match="no checkpoint"):
        load_torch_file(path)


def test_a_pickle_by_another_name(path):
    path.write_bytes(pickle.dumps(OrderedDict(w=1)) * 3)
    with pytest.raises(ValueError, match="no checkpoint"):
        load_torch_file(path)


def test_no_such_file(path):
    with pytest.raises(FileNotFoundError):
        load_torch_file(path)
