"""Pickles of Detectron2's zoo, of Caffe2 and of those who mean harm."""

import os
import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest

from tood_d2.checkpoint.restricted_pickle import MAX_READS, load_pickle

CONTENT = {
    "model": OrderedDict(
        weight=np.arange(6, dtype=np.float32).reshape(2, 3),
        columns=np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        turned=np.arange(24, dtype=np.int8).reshape(2, 3, 4).transpose(2, 0, 1),
        big_endian=np.arange(3, dtype=">i4"),
        mask=np.array([True, False]),
        empty=np.empty((0, 4), np.float64),
        zero_dimensional=np.array(3, np.int64),
    ),
    "__author__": "somebody",
    "epoch": 12,
    "lr": 0.1,
    "names": ("a", ["b", b"c", None, True, 2**70, "é"]),
    "scalar": np.float32(1.5),
    "bytes": b"",
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pkl"


def assert_same(actual, expected):
    assert type(actual) is type(expected)
    if isinstance(expected, dict):
        assert list(actual) == list(expected)
        for key, value in expected.items():
            assert_same(actual[key], value)
    elif isinstance(expected, np.ndarray):
        assert actual.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
        np.testing.assert_array_equal(actual, expected)
    else:
        assert actual == expected


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(path, protocol, core):
    data = pickle.dumps(CONTENT, protocol)
    if protocol < 4:  # later ones have the length beside the name
        data = data.replace(b"numpy._core.", f"{core}.".encode())
    path.write_bytes(data)
    assert_same(load_pickle(path), CONTENT)


def test_python_2(path):
    # {"w": np.arange(2, dtype="<f4"), "n": 3L}, all strings of eight bits.
    path.write_bytes(
        b"\x80\x02}(U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b"
        b"\x87Rq\x01(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08\x00\x00\x00\x00\x00\x00\x80?tb"
        b"U\x01n\x8a\x01\x03u."
    )
    content = load_pickle(path)
    assert content.keys() == {"w", "n"} and content["n"] == 3
    assert content["w"].dtype == np.float32 and content["w"].tolist() == [0, 1]


class Call:
    """Pickled as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


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
HUGE = b"\x8a\x06\x00\x00\x00\x00\x00\x20"  # 2**45

CODE = {
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
        b"K\x01\x85",
        name("numpy.dtype") + b"U\x02O8K\x00K\x01\x87R",
        b"]" + name("posix.system") + b"U\x0ctouch marker\x85Ra",
    ),
    "call of an array": name("numpy.ndarray") + HUGE + b"\x85R",
    "extension": b"\x82\x01",
}
BOMBS = {
    "shape": name("numpy.core.multiarray._reconstruct") + name("numpy.ndarray") + HUGE
    + b"\x85U\x01b\x87R",
    "array larger than its bytes": array(HUGE + b"\x85", FLOAT, b"U\x04abcd"),
    "type of many bytes": name("numpy.dtype") + b"U\x0bV9999999999K\x00K\x01\x87R",
    "array of objects": array(
        b"K\x01\x85", name("numpy.dtype") + b"U\x02O8K\x00K\x01\x87R", b"]Na"
    ),
    "bytearray": name("__builtin__.bytearray") + HUGE + b"\x85R",
    "bytearray of protocol 5": b"\x96" + struct.pack("<Q", 2**34),
    "memo": b"N" + b"r" + struct.pack("<I", 2**32 - 1),
    "bytes": b"\x8e" + struct.pack("<Q", 2**34),
    "text": b"\x8d" + struct.pack("<Q", 2**34),
    "sets": b"\x8f" * 10,
    "dictionaries": b"}" * (MAX_READS + 1),
    "a deep tuple as a key": b"}N" + b"\x85" * 500_000 + b"Ns",
    "a deep list": b"]" * 100_000 + b"a" * 99_999,
}  # fmt: skip


# Each makes many copies of what the file holds once, at index 0 of the memo.
COPIES = {
    "a text": b"X" + struct.pack("<I", 2**20) + b"a" * 2**20 + b"q\x00U\x06latin1q\x01"
    + (name("_codecs.encode") + b"h\x00h\x01\x86R") * 100,
    "a list": b"](" + b"](U\x01aNe" * 1000 + b"eq\x00"
    + (name("collections.OrderedDict") + b"h\x00\x85R") * 1000,
    "an array's bytes": b"T" + struct.pack("<I", 2**16) + b"a" * 2**16 + b"q\x00"
    + array(b"M\x00\x40\x85", FLOAT, b"h\x00") * 100,
}  # fmt: skip


@pytest.mark.parametrize("case", CODE)
def test_nothing_is_executed(path, case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path.write_bytes(program(CODE[case]))
    with pytest.raises(ValueError, match="holds .* safety|holds an array|no checkpoint|calls"):
        load_pickle(path)
    assert os.listdir(tmp_path) == ["weights.pkl"]


def test_what_is_refused_is_named(path, tmp_path):
    with open(path, "wb") as file:
        pickle.dump({"model": {"w": Call(os.system, f"touch {tmp_path}/marker")}}, file)
    with pytest.raises(ValueError, match=r"holds posix\.system, which is not loaded for safety"):
        load_pickle(path)
    assert not (tmp_path / "marker").exists()
    with open(path, "rb") as file:  # it is without the precaution
        pickle.load(file)
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("case", BOMBS)
def test_bombs(path, case, limited_memory):
    path.write_bytes(program(BOMBS[case]))
    with pytest.raises(ValueError, match="holds|no checkpoint|more parts|key"):
        load_pickle(path)


@pytest.mark.parametrize("case", COPIES)
def test_copies(path, case, limited_memory):
    path.write_bytes(program(COPIES[case]))
    with pytest.raises(ValueError, match="holds less than it makes up"):
        load_pickle(path)


@pytest.mark.parametrize(
    "data", [b"", b"no pickle", b"<html>", pickle.dumps(CONTENT)[:-20], pickle.dumps([1])]
)
def test_other_files(path, data):
    path.write_bytes(data)
    with pytest.raises(ValueError, match="no checkpoint|no state dict"):
        load_pickle(path)


def test_arrays_of_objects(path):
    path.write_bytes(pickle.dumps({"w": np.array([None, {}], dtype=object)}))
    with pytest.raises(ValueError, match="'O8', only numbers are loaded"):
        load_pickle(path)
    path.write_bytes(pickle.dumps({"w": np.zeros(2, [("a", "f4")])}))
    with pytest.raises(ValueError, match="only numbers are loaded"):
        load_pickle(path)


def test_no_such_file(path):
    with pytest.raises(FileNotFoundError):
        load_pickle(path)
