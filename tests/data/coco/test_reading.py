"""JSON files are read once, in every encoding; what cannot be read is named."""

import json
import os
import tracemalloc

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


def test_a_large_file_takes_little_memory(tmp_path):
    polygon = [x / 7 for x in range(60)]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 900, "height": 900}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {
                "id": i,
                "image_id": 1,
                "category_id": 1,
                "bbox": [i / 9, i / 8, 20.5, 30.5],
                "area": 500.5,
                "iscrowd": 0,
                "segmentation": [polygon],
            }
            for i in range(1, 4001)
        ],
    }
    path = tmp_path / "large.json"
    path.write_text(json.dumps(content))

    def measure(function):
        """Bytes at most, and those that are left."""
        tracemalloc.start()
        try:
            result = function()
            left, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert result
        return peak, left

    peak, size = measure(lambda: json.loads(path.read_text()))
    our_peak, our_size = measure(lambda: load_coco(path))
    assert our_peak < 1.3 * peak  # measured: 1.00
    assert our_size < 0.1 * size  # measured: 0.03
