import json
from pathlib import Path

import pytest
from PIL import Image

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json
from detectron2.utils import comm
from tood_d2.data import register_coco_json
from tood_d2.data.coco import registration


@pytest.fixture
def write(tmp_path):
    """Writes a data set of one image and returns its JSON file and folder."""
    (tmp_path / "images" / "sub").mkdir(parents=True)
    Image.new("RGB", (50, 40)).save(tmp_path / "images" / "sub" / "a.png")
    written = []

    def _write(**changes):
        content = {
            "images": [{"id": 7, "file_name": "sub/a.png", "width": 50, "height": 40}],
            "annotations": [
                {"id": 1, "image_id": 7, "category_id": 9, "bbox": [1, 2, 3, 4], "area": 12}
            ],
            "categories": [{"id": 9, "name": "dog"}, {"id": 3, "name": "cat"}],
        }
        content.update(changes)
        content = {key: value for key, value in content.items() if value is not None}
        path = tmp_path / f"{len(written)}.json"
        path.write_text(json.dumps(content))
        written.append(str(path))
        return str(path), str(tmp_path / "images")

    yield _write
    for name in written:
        if name in DatasetCatalog:
            DatasetCatalog.pop(name)
            MetadataCatalog.pop(name)


def test_classes_are_known_at_once_by_ascending_id(write):
    json_file, images = write()
    metadata = register_coco_json(json_file, images)
    assert metadata.thing_classes == ["cat", "dog"]
    assert metadata.thing_dataset_id_to_contiguous_id == {3: 0, 9: 1}
    (image,) = DatasetCatalog.get(json_file)
    assert image["file_name"].endswith("images/sub/a.png")
    assert [x["category_id"] for x in image["annotations"]] == [1]


def test_the_dataset_dicts_are_those_of_detectron2(write, content):
    content["images"].reverse()
    json_file, images = write(**content)
    for image in content["images"]:
        size = image["width"], image["height"]
        Image.new("RGB", size).save(Path(images, image["file_name"]))
    metadata = register_coco_json(json_file, images)
    expected = load_coco_json(json_file, images, "another")
    assert DatasetCatalog.get(json_file) == expected
    another = MetadataCatalog.pop("another")
    for key in ("thing_classes", "thing_dataset_id_to_contiguous_id"):
        assert metadata.get(key) == another.get(key)
    assert (metadata.json_file, metadata.image_root) == (json_file, images)
    assert metadata.evaluator_type == "coco"


def test_ids_with_gaps_cause_no_warning(write, caplog):
    register_coco_json(*write(annotations=[box(1, 1, 2, 3, 4)]))
    assert caplog.records == []


def test_one_process_of_a_machine_reads_the_file(write, monkeypatch):
    json_file, images = write()
    loaded = []
    monkeypatch.setattr(comm, "all_gather", lambda x: loaded.append(x) or [x])
    register_coco_json(json_file, images)
    DatasetCatalog.pop(json_file)
    # The second process of a machine, whose first one is number 2 of all.
    monkeypatch.setattr(comm, "get_rank", lambda: 3)
    monkeypatch.setattr(comm, "get_local_rank", lambda: 1)
    monkeypatch.setattr(comm, "all_gather", lambda x: [None, None, loaded[0], x])
    monkeypatch.setattr(registration, "load_coco", None)
    monkeypatch.setattr(registration, "check_image_headers", None)
    register_coco_json(json_file, images)
    assert len(DatasetCatalog.get(json_file)) == 1


def test_registering_again_has_no_effect(write):
    json_file, images = write()
    assert register_coco_json(json_file, images) is register_coco_json(json_file, images)


@pytest.mark.parametrize("key", ["images", "categories"])
def test_missing_lists_are_named(write, key):
    with pytest.raises(ValueError, match=f"'{key}'"):
        register_coco_json(*write(**{key: None}))


@pytest.mark.parametrize(
    ("key", "item", "message"),
    [
        ("images", {"id": 7, "file_name": "sub/a.png", "width": 5}, "'images' has no height"),
        ("annotations", {"id": 1, "image_id": 7, "bbox": [1, 2, 3, 4]}, "has no category_id"),
        ("categories", {"id": 1}, "'categories' has no name"),
    ],
)
def test_incomplete_items_are_named(write, key, item, message):
    json_file, images = write(**{key: [item]})
    with pytest.raises(ValueError, match=message) as info:
        register_coco_json(json_file, images)
    assert json_file in str(info.value) and str(item) in str(info.value)


def test_an_empty_list_of_images_is_refused(write):
    with pytest.raises(ValueError, match="'images' is empty"):
        register_coco_json(*write(images=[]))


def test_missing_files_are_named(write, tmp_path):
    json_file, images = write()
    with pytest.raises(FileNotFoundError, match="nowhere.json"):
        register_coco_json(str(tmp_path / "nowhere.json"), images)
    with pytest.raises(FileNotFoundError, match="no_folder"):
        register_coco_json(json_file, str(tmp_path / "no_folder"))
    (tmp_path / "images" / "sub" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match="a.png"):
        register_coco_json(json_file, images)


def box(id_, *bbox):
    return {"id": id_, "image_id": 7, "category_id": 9, "bbox": bbox, "area": 1, "iscrowd": 0}


def test_fatal_problems_are_listed(write):
    boxes = [box(i, 1, 2, float("nan"), 4) for i in range(1, 8)]
    json_file, images = write(annotations=boxes)
    with pytest.raises(ValueError, match=r"and 2 more \(tools/dataset.py check") as info:
        register_coco_json(json_file, images)
    named = [i for i in range(1, 8) if f"{json_file}: annotation {i}: box" in str(info.value)]
    assert named == [1, 2, 3, 4, 5]
    assert json_file not in DatasetCatalog


def test_other_problems_are_counted_in_one_warning(write, caplog):
    boxes = [box(1, 1, 2, 3, 4), box(2, 1, 2, 0, 4), box(3, 1, 2, 0, 5), box(4, 60, 2, 3, 4)]
    json_file, images = write(annotations=boxes)
    register_coco_json(json_file, images)
    (message,) = [x.message for x in caplog.records if x.name == "tood_d2.data.coco.reading"]
    assert json_file in message and "tools/dataset.py check" in message
    assert "empty-box (2), " in message and "outside-box (1), " in message


def test_data_without_boxes_can_be_registered(write):
    json_file, images = write(annotations=[])
    register_coco_json(json_file, images)
    assert DatasetCatalog.get(json_file)[0]["annotations"] == []


def test_test_data_may_have_no_annotations(write):
    json_file, images = write(annotations=None)
    assert not register_coco_json(json_file, images).is_annotated
    assert DatasetCatalog.get(json_file)[0]["annotations"] == []


def test_an_image_of_another_size_is_refused(write, tmp_path):
    Image.new("RGB", (50, 41)).save(tmp_path / "images" / "sub" / "a.png")
    with pytest.raises(ValueError, match=r"image 7 \(sub/a.png\): 50 x 40 .* has 50 x 41 pixels"):
        register_coco_json(*write())


def test_a_damaged_image_is_refused_unless_it_may_be(write, tmp_path, caplog):
    (tmp_path / "images" / "sub" / "a.png").write_text("no image")
    json_file, images = write()
    with pytest.raises(ValueError, match=r"a.png cannot be read: it is no image"):
        register_coco_json(json_file, images)
    register_coco_json(json_file, images, damaged_ok=True)
    assert "unreadable-image (1)" in caplog.text


def test_the_image_is_found_under_the_name_of_a_storage(write, caplog):
    image = {"id": 7, "file_name": r"C:\\media\\A%2EPNG", "width": 50, "height": 40}
    json_file, images = write(images=[image])
    register_coco_json(json_file, images)
    assert DatasetCatalog.get(json_file)[0]["file_name"] == f"{images}/sub/a.png"
    assert "is found as sub/a.png" in caplog.text
