"""YAML of the plain kind, and of others."""

import os

import pytest

from detectron2.layers import ShapeSpec
from tood_d2.config.yaml_file import MAX_BYTES, MAX_VALUES, read_yaml


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config.yaml"


def test_plain_values(path):
    path.write_text(
        "a: &x [1, 2.5, yes, null, text]\nb: *x\nc: !!python/tuple [1, [2]]\n"
        "d: !!python/object:detectron2.layers.shape_spec.ShapeSpec {channels: 3, stride: 4}\n"
    )
    assert read_yaml(path) == {
        "a": [1, 2.5, True, None, "text"],
        "b": [1, 2.5, True, None, "text"],
        "c": (1, [2]),
        "d": ShapeSpec(channels=3, stride=4),
    }


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch marker']",
        "!!python/object/new:os.system ['touch marker']",
        "!!python/object:detectron2.config.CfgNode {}",
        '!!python/object/apply:eval [\'open("marker", "w")\']',
        "!!python/name:os.system ''",
        "!!python/module:os ''",
    ],
)
def test_nothing_is_executed(path, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path.write_text(f"a: 1\nb:\n  - {value}\n")
    with pytest.raises(ValueError, match=r"config\.yaml, line 3: .*(tag|expression)"):
        read_yaml(path)
    assert [x.name for x in tmp_path.iterdir()] == ["config.yaml"]


def laughs(form):
    """Each line has the one before ten times."""
    lines = ["a0: &a0 {x: 1}"]
    for i in range(1, 12):
        aliases = ", ".join([f"*a{i - 1}"] * 10)
        lines.append(f"a{i}: &a{i} {form.format(aliases)}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (laughs("[{}]"), "more values"),
        (laughs("{{<<: [{}]}}"), "more values"),
        ("a: &a [*a]", "more values"),
        ("a: [" + "1, " * MAX_VALUES + "]", "more values"),
        ("#" * (MAX_BYTES + 1), "larger than any config"),
        ("a: " + "[" * 10_000, "nested too deeply"),
        ("a: " + "{b: " * 10_000, "nested too deeply"),
        ("a: [1,\nb: 2", "line 2: no plain YAML, expected"),
        ("a: *b", "line 1: no plain YAML, found undefined alias"),
        ("a: 1\n---\nb: 2", "line 2: no plain YAML, but found another document"),
        ("? [1]\n: 2", "line 1: no plain YAML, found unhashable key"),
        ("a: \x01", "cannot be read as a YAML config"),
        ("a: !!int x", "cannot be read as a YAML config"),
        ("a: !!python/object:detectron2.layers.shape_spec.ShapeSpec {channels: x}", "a shape of"),
        ("a: 2001-99-99", "cannot be read as a YAML config"),
        ("a: " + "9" * 5000, "cannot be read as a YAML config"),
        ("", "should hold keys and values, not NoneType"),
        ("[1]", "should hold keys and values, not list"),
    ],
)  # fmt: skip
def test_refused(path, text, message):
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"config\.yaml.*{message}"):
        read_yaml(path)


def test_no_text(path):
    path.write_bytes(b"\x80\x04\xff\xfe")
    with pytest.raises(ValueError, match="cannot be read as a YAML config"):
        read_yaml(path)


@pytest.mark.parametrize("value", ["1:30", "1:30.5", "!!int 1:30", "-1" + ":59" * 300_000])
def test_numbers_in_base_60_are_refused_at_once(path, value):
    """PyYAML would take more than a minute for the last one."""
    path.write_text(f"a: 1\nb: {value}\n")
    with pytest.raises(ValueError, match=r"line 2: .*base 60; text needs quotes"):
        read_yaml(path)
    path.write_text("a: '1:30'\nb: 0x1F\nc: 1_000\nd: .5\n")
    assert read_yaml(path) == {"a": "1:30", "b": 31, "c": 1000, "d": 0.5}


def test_a_named_pipe_is_not_waited_for(path):
    os.mkfifo(path)
    with pytest.raises(FileNotFoundError, match="config.yaml: no such file"):
        read_yaml(path)
