"""JSON files are read once, in every encoding; what cannot be read is named."""

import json
import os

import pytest

from tood_d2.data.coco.dataset import load_coco
from tood_d2.data.coco.reading import read_coco


@pytest.fixture
def path(tmp_path, content):
    content["categories"][0]["name"] = "Käse"
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings_of_unicode_are_found(path, content, encoding):
    path.write_text(json.dumps(content, ensure_ascii=False), encoding=encoding)
    assert read_coco(path) == content


def test_a_file_is_loaded_once(path, tmp_path, monkeypatch):
    first = load_coco(path)
    monkeypatch.chdir(tmp_path)
    assert load_coco("x.json") is first


def test_a_changed_file_is_loaded_again(path, content):
    assert load_coco(path).class_names == ["Käse", "dog"]
    status = os.stat(path)
    content["categories"][0]["name"] = "Kuh"
    path.write_text(json.dumps(content))
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert load_coco(path).class_names == ["Kuh", "dog"]


@pytest.mark.parametrize("text", [b"{not json", b"[" * 100_000, b"", b"\xff\xfe\x00"])
def test_what_is_not_json_is_named(tmp_path, text):
    (tmp_path / "text.json").write_bytes(text)
    with pytest.raises(ValueError, match="text.json is not JSON"):
        read_coco(tmp_path / "text.json")


def test_pipes_and_folders_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # whose reading would wait for a writer
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=f"{path}: no such annotation file"):
            read_coco(path)
