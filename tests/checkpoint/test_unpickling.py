"""Weights from PyTorch, Detectron2's zoo and Caffe2, and files of those who mean harm."""

import enum
import io
import os
import pickle
import struct
import sys
import zipfile
from collections import Counter, OrderedDict, defaultdict, deque
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from tood_d2.checkpoint.file import find_state_dict, read_checkpoint
from tood_d2.checkpoint.unpickling import UnknownObject, load_pickle, load_torch_file

ARRAYS = OrderedDict(
    weight=np.arange(6, dtype=np.float32).reshape(2, 3),
    columns=np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    turned=np.arange(24, dtype=np.int8).reshape(2, 3, 4).transpose(2, 0, 1),
    big_endian=np.arange(3, dtype=">i4"),
    mask=np.array([True, False]),
    empty=np.empty((0, 4), np.float64),
    zero_dimensional=np.array(3, np.int64),
)
CONTENT = {
    "model": ARRAYS,
    "__author__": "somebody",
    "epoch": 12,
    "lr": 0.1,
    "names": ("a", ["b", b"c", None, True, 2**70, "é"]),
    "scalar": np.float32(1.5),
    "bytes": b"",
}


def assert_same(actual, expected):
    if isinstance(expected, np.ndarray):
        assert actual.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
        np.testing.assert_array_equal(actual, expected)
    elif isinstance(expected, torch.Tensor):
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
        assert type(actual) is type(expected) and actual == expected


class Call:
    """Pickled as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class TestPickles:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "weights.pkl"

    @pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
    @pytest.mark.parametrize("protocol", range(6))
    def test_content_comes_back(self, path, protocol, core):
        data = pickle.dumps(CONTENT, protocol)
        if protocol < 4:  # later ones have the length beside the name
            data = data.replace(b"numpy._core.", f"{core}.".encode())
        path.write_bytes(data)
        assert_same(read_checkpoint(path), CONTENT)

    def test_strings_of_python_2_are_read(self, path):
        # {"w": np.arange(2, dtype="<f4"), "n": 3L}, all strings of eight bits.
        path.write_bytes(
            b"\x80\x02}(U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01"
            b"b\x87Rq\x01(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNN"
            b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08\x00\x00\x00\x00\x00\x00\x80?tb"
            b"U\x01n\x8a\x01\x03u."
        )
        assert_same(load_pickle(path), {"w": np.array([0, 1], np.float32), "n": 3})

    @pytest.mark.parametrize(
        "data", [b"", b"no pickle", b"<html>", pickle.dumps(CONTENT)[:-20], pickle.dumps([1])]
    )
    def test_other_files_are_refused(self, path, data):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="no checkpoint|no state dict but a list"):
            read_checkpoint(path)

    def test_arrays_of_objects_are_refused(self, path):
        path.write_bytes(pickle.dumps({"w": np.array([None, {}], dtype=object)}))
        with pytest.raises(ValueError, match="'O8', only numbers are loaded"):
            load_pickle(path)
        path.write_bytes(pickle.dumps({"w": np.zeros(2, [("a", "f4")])}))
        with pytest.raises(ValueError, match="only numbers are loaded"):
            load_pickle(path)

    def test_what_is_refused_is_named(self, path, tmp_path):
        path.write_bytes(pickle.dumps({"model": {"w": Call(os.system, f"touch {tmp_path}/trace")}}))
        with pytest.raises(ValueError, match=r"holds posix\.system, which is not loaded for safe"):
            load_pickle(path)
        assert not (tmp_path / "trace").exists()
        pickle.loads(path.read_bytes())  # without the precaution
        assert (tmp_path / "trace").exists()

    def test_a_file_does_not_change_how_the_next_one_is_read(self, path):
        change = b"N}U\x08__init__" + name("collections.OrderedDict") + b"s\x86b"
        path.write_bytes(program(name("numpy.dtype") + change))
        load_pickle(path)
        path.write_bytes(pickle.dumps(CONTENT))
        assert_same(load_pickle(path), CONTENT)


def program(*instructions):
    return b"\x80\x02" + b"".join(instructions) + b"."


def name(full_name):
    module, _, function = full_name.rpartition(".")
    return f"c{module}\n{function}\n".encode()


def array(shape, dtype, data):
    """A pickled array, of parts that need not go together."""
    return (
        name("numpy.core.multiarray._reconstruct") + name("numpy.ndarray")
        + b"K\x00\x85U\x01b\x87R(K\x01" + shape + dtype + b"\x89" + data + b"tb"
    )  # fmt: skip


FLOAT = name("numpy.dtype") + b"U\x02f4K\x00K\x01\x87R"
OBJECT = name("numpy.dtype") + b"U\x02O8K\x00K\x01\x87R"
HUGE = b"\x8a\x06\x00\x00\x00\x00\x00\x20"  # 2**45

HOSTILE = {
    # Code.
    "os.system": name("posix.system") + b"U\x0ctouch marker\x85R",
    "eval": name("__builtin__.eval") + b"U\x14open('marker', 'w')#\x85R",
    "getattr": name("__builtin__.getattr") + name("posix.system") + b"U\x08__call__\x86R",
    "numpy": name("numpy.load") + b"U\x06marker\x85R",
    "f2py": name("numpy.f2py.crackfortran.myeval") + b"U\x01a\x85R",
    "walk of attributes": name("numpy.core.multiarray.scalar.__class__"),
    "torch": name("torch.hub.load") + b"U\x01a\x85R",
    "inst": b"(U\x0ctouch marker" + b"iposix\nsystem\n",
    "obj": b"(" + name("posix.system") + b"U\x0ctouch markero",
    "array of objects": array(
        b"K\x01\x85", OBJECT, b"]" + name("posix.system") + b"U\x0ctouch marker\x85Ra"
    ),
    "extension": b"\x82\x01",
    # Much memory.
    "array": name("numpy.ndarray") + HUGE + b"\x85R",
    "array larger than its bytes": array(HUGE + b"\x85", FLOAT, b"U\x04abcd"),
    "type of many bytes": name("numpy.dtype") + b"U\x0bV9999999999K\x00K\x01\x87R",
    "bytearray": name("__builtin__.bytearray") + HUGE + b"\x85R",
    "bytearray of protocol 5": b"\x96" + struct.pack("<Q", 2**34),
    "memo": b"N" + b"r" + struct.pack("<I", 2**32 - 1),
    "bytes": b"\x8e" + struct.pack("<Q", 2**34),
    "text": b"\x8d" + struct.pack("<Q", 2**34),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_pickles_do_nothing(tmp_path, case, limited_memory, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pkl"
    path.write_bytes(program(HOSTILE[case]))
    with pytest.raises(ValueError, match="holds .* safety|holds an array|no checkpoint|more parts"):
        load_pickle(path)
    assert os.listdir(tmp_path) == [path.name]


def training_checkpoint():
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
        "arrays": {**ARRAYS, "number": np.float64(1.5)},
    }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


@pytest.mark.parametrize("zipped", [True, False])
class TestTorchFiles:
    def test_content_comes_back(self, path, zipped):
        expected = training_checkpoint()
        torch.save(expected, path, _use_new_zipfile_serialization=zipped)
        loaded = read_checkpoint(path)
        assert_same(loaded, expected)
        assert loaded["model"]._metadata == expected["model"]._metadata
        assert isinstance(loaded["scheduler"]["milestones"], Counter)
        first, second, _ = loaded["views"]
        first[2] = 9
        assert second[0] == 9  # they still share their numbers

    @pytest.mark.parametrize(
        "call", [Call(os.system, "touch marker"), Call(os._exit, 1), Call(bytearray, 2**34)]
    )
    def test_code_is_not_executed(self, path, tmp_path, monkeypatch, limited_memory, zipped, call):
        monkeypatch.chdir(tmp_path)
        torch.save({"w": torch.ones(1), "x": call}, path, _use_new_zipfile_serialization=zipped)
        message = r"holds (posix\.system|bytearray|posix\._exit), which is not loaded for safety"
        with pytest.raises(ValueError, match=message):
            load_torch_file(path)
        assert os.listdir(tmp_path) == [path.name]

    def test_truncated_files_are_refused(self, path, zipped):
        torch.save({"w": torch.zeros(1000)}, path, _use_new_zipfile_serialization=zipped)
        path.write_bytes(path.read_bytes()[:-4])
        with pytest.raises(ValueError, match="damaged"):
            load_torch_file(path)


class TestUnknownObjects:
    """Those of packages that are not there."""

    @pytest.fixture
    def save(self, path, monkeypatch):
        """Gives a function that pickles the object of a class of another package."""
        module = ModuleType("elsewhere")

        class History:
            def __init__(self):
                self.values = np.ones(3)

        class Kind(enum.Enum):
            A = 1

        for cls in (History, Kind):
            cls.__module__, cls.__qualname__ = "elsewhere", cls.__name__
            setattr(module, cls.__name__, cls)

        def _save(content):
            with monkeypatch.context() as patch:
                patch.setitem(sys.modules, "elsewhere", module)
                torch.save(content(module), path)

        return _save

    def test_beside_weights_they_are_left_out(self, path, save, log, tmp_path):
        trace = tmp_path / "trace"
        save(
            lambda elsewhere: {
                "state_dict": {"w": torch.ones(2)},
                "meta": {"epoch": 12},
                "history": {"loss": elsewhere.History()},  # NEWOBJ and BUILD
                "kind": elsewhere.Kind.A,  # REDUCE
                "method": Call(getattr, elsewhere.History, "values"),
                "code": Call(exec, f"open({str(trace)!r}, 'w')"),
            }
        )
        content = read_checkpoint(path)
        assert content["meta"] == {"epoch": 12}
        assert_same(find_state_dict(content), {"w": torch.ones(2)})
        loss = content["history"]["loss"]
        assert isinstance(loss, UnknownObject) and not vars(loss)
        names = "builtins.exec, builtins.getattr, elsewhere.History, elsewhere.Kind"
        assert f"{path}: left out objects that are not loaded for safety: {names}" in log.text
        assert not trace.exists()

    def test_in_the_place_of_weights_they_are_refused(self, path, save):
        save(lambda elsewhere: {"model": {"a": torch.ones(2), "w": elsewhere.History()}})
        with pytest.raises(ValueError, match=r"has a elsewhere\.History for the tensor 'w'"):
            find_state_dict(read_checkpoint(path))
        save(lambda elsewhere: elsewhere.History())
        with pytest.raises(ValueError, match=r"no state dict but a elsewhere\.History"):
            read_checkpoint(path)


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

    def test_other_writers_of_archives_are_fine(self, path):
        rewritten(path)
        assert load_torch_file(path)["w"].shape == (1000,)

    def test_compressed_parts_are_refused(self, path, limited_memory):
        rewritten(path, compression=zipfile.ZIP_DEFLATED)
        self.refused(path, "is compressed")

    def test_parts_larger_than_the_file_are_refused(self, path):
        data = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            (size,) = (x.file_size for x in archive.infolist() if x.filename.endswith("data/0"))
        old, new = (x.to_bytes(4, "little") * 2 for x in (size, 2**30))
        assert data.count(old) >= 1
        path.write_bytes(data.replace(old, new))
        self.refused(path, "larger than the file|damaged")

    def test_storages_of_another_size_are_refused(self, path):
        rewritten(path, lambda name, data: data[:400] if name.endswith("data/0") else data)
        self.refused(path, "damaged")

    def test_a_changed_bit_is_noticed(self, path):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        torch.load(path, weights_only=True)  # PyTorch does not
        self.refused(path, "damaged")

    def test_archives_of_something_else_are_refused(self, path):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "a")
        self.refused(path, "no checkpoint")


@pytest.mark.parametrize("data", [b"", b"a", b"<!DOCTYPE html>", b"PK\x03\x04", b"\x80\x02}."])
def test_other_files_are_refused(path, data):
    path.write_bytes(data)
    with pytest.raises(ValueError, match="no checkpoint"):
        load_torch_file(path)


def test_old_files_that_claim_much_memory_are_refused(path, limited_memory):
    torch.save({"w": torch.zeros(1000)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    assert b"M\xe8\x03" in data  # 1000 elements
    path.write_bytes(data.replace(b"M\xe8\x03", b"\x8a\x05\x00\x00\x00\x00\x01"))  # 2**32
    with pytest.raises(ValueError, match="no checkpoint"):
        load_torch_file(path)


@pytest.mark.parametrize("load", [load_torch_file, load_pickle])
def test_files_that_cannot_be_opened(tmp_path, load):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nowhere")
    with pytest.raises(IsADirectoryError):
        load(tmp_path)


class OwnDict(dict):
    pass


class OwnList(list):
    pass


class OwnObject:
    def __init__(self):
        self.value = OwnDict(a=1)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize(
    "beside, loaded",
    [
        (OwnDict(a=OwnList([1, 2]), b=OwnDict()), {"a": [1, 2], "b": {}}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (deque([1, 2]), [1, 2]),
        (OwnObject(), None),
        ([OwnObject(), OwnList([3])], None),
    ],
)
def test_containers_and_objects_beside_the_weights_are_no_obstacle(
    path, beside, loaded, is_zip, log
):
    content = {"model": {"w": torch.ones(2)}, "meta": beside}
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    result = load_torch_file(path)
    assert torch.equal(result["model"]["w"], torch.ones(2))
    assert loaded is None or result["meta"] == loaded and type(result["meta"]) is type(loaded)
    assert "left out objects that are not loaded for safety" in log.text


def test_a_model_in_a_dict_of_its_own_kind(path):
    torch.save({"model": OwnDict(w=torch.ones(2))}, path)
    assert torch.equal(find_state_dict(read_checkpoint(path))["w"], torch.ones(2))


def test_many_unknown_classes_do_not_keep_the_reader_busy(path):
    classes = [type(f"Class{i}", (), {}) for i in range(60)]
    for kind in classes:
        kind.__module__ = __name__
        setattr(sys.modules[__name__], kind.__name__, kind)
    torch.save([x() for x in classes], path, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="Class0.*not loaded for safety"):
        load_torch_file(path)
