"""Forms of data sets are recognised by their files."""

import json

import pytest
from label_files import boxes, save_image, write, xml

from tood_d2.data.conversion import convert_any

LABEL = "0 .5 .5 .25 .2\n"


def coco(*names):
    """Content of a JSON file with a box in each image."""
    return json.dumps(
        {
            "images": [
                {"id": i, "file_name": name, "width": 40, "height": 30}
                for i, name in enumerate(names)
            ],
            "annotations": [
                {"id": i, "image_id": i, "category_id": 1, "bbox": [0, 0, 10, 5]}
                for i in range(len(names))
            ],
            "categories": [{"id": 1, "name": "dog"}],
        }
    )


@pytest.fixture
def yolo(tmp_path):
    save_image(tmp_path / "train" / "images" / "a.jpg")
    write(tmp_path / "train" / "labels" / "a.txt", LABEL)
    write(tmp_path / "data.yaml", "train: ../train/images\nnames: [dog]\n")
    return tmp_path


@pytest.mark.parametrize("name", ["", "data.yaml"])
def test_yolo_by_folder_or_file(yolo, name):
    form, splits = convert_any(yolo / name)
    content, images = splits["train"]
    assert form == "yolo" and images == yolo / "train" / "images"
    assert boxes(content) == {"a.jpg": [("dog", 15, 12, 10, 6)]}


def test_a_folder_of_labelimg_in_either_form(tmp_path):
    for form, name, text in (("yolo", "a.txt", LABEL), ("voc", "a.xml", xml(("dog", 1, 1, 10, 5)))):
        save_image(tmp_path / form / "a.jpg")
        write(tmp_path / form / name, text)
    write(tmp_path / "yolo" / "classes.txt", "dog\n")
    for form in ("yolo", "voc"):
        source = convert_any(tmp_path / form)
        assert source.form == form and source.splits["all"][1] == tmp_path / form


@pytest.mark.parametrize(
    ("json_file", "images", "split"),
    [
        ("train/_annotations.coco.json", "train", "train"),
        ("_annotations.coco.json", ".", "all"),
        ("annotations/instances_train2017.json", "train2017", "train2017"),
        ("annotations/instances_train2017.json", "images/train2017", "train2017"),
        ("annotations/instances_default.json", "images", "all"),
        ("train/labels.json", "train/data", "train"),
        ("train.json", "train", "train"),
        ("annotations/birds_val.json", "images", "val"),
        ("result.json", "images", "all"),
    ],
)
def test_coco_files_are_found_with_their_images(tmp_path, json_file, images, split):
    save_image(tmp_path / images / "s" / "a.jpg")
    write(tmp_path / json_file, coco("missing.jpg", "s/a.jpg"))
    expected = {split: (tmp_path / json_file, tmp_path / images)}
    assert convert_any(tmp_path) == ("coco", expected)
    assert convert_any(tmp_path / json_file).splits[split][0] == tmp_path / json_file


@pytest.mark.parametrize("name", ["../server/media/upload/1/01dd-a.jpg", "http://host/01dd-a.jpg"])
def test_coco_files_with_names_of_a_server_s_storage(tmp_path, name):
    save_image(tmp_path / "export" / "images" / "01dd-a.jpg")
    write(tmp_path / "export" / "result.json", coco(name))
    expected = {"all": (tmp_path / "export" / "result.json", tmp_path / "export")}
    assert convert_any(tmp_path / "export").splits == expected
    assert convert_any(tmp_path / "export" / "result.json").splits == expected


def test_of_coco_s_own_files_instances_count(tmp_path):
    save_image(tmp_path / "val2017" / "a.jpg")
    for name in ("instances_val2017", "person_keypoints_val2017"):
        write(tmp_path / "annotations" / f"{name}.json", coco("a.jpg"))
    write(tmp_path / "annotations" / "captions_val2017.json", '{"images": []}')
    splits = convert_any(tmp_path).splits
    assert [*splits] == ["val2017"] and splits["val2017"][0].name == "instances_val2017.json"


def test_two_files_of_a_split_are_refused(tmp_path):
    for name in ("a_train.json", "b_train.json"):
        write(tmp_path / name, coco("a.jpg"))
    with pytest.raises(ValueError, match=r"a_train\.json and .*b_train\.json are both of .*train"):
        convert_any(tmp_path)


def test_missing_images_of_coco_files_are_named(tmp_path):
    (tmp_path / "images").mkdir()
    write(tmp_path / "train.json", coco("a.jpg"))
    with pytest.raises(FileNotFoundError, match=rf"train\.json: a\.jpg: .*{tmp_path}/images"):
        convert_any(tmp_path)
    write(tmp_path / "train.json", coco("a" * 5000))
    with pytest.raises(FileNotFoundError, match=r"train\.json: aaa"):
        convert_any(tmp_path)
    (tmp_path / "train.json").write_bytes(coco("a.jpg").replace("a.jpg", "\xff").encode("latin-1"))
    with pytest.raises(ValueError, match=r"train\.json has a 'file_name' that is no text"):
        convert_any(tmp_path)
    write(tmp_path / "train.json", coco())
    with pytest.raises(ValueError, match=r"train\.json names no image"):
        convert_any(tmp_path / "train.json")


def test_a_folder_in_two_forms_is_refused(yolo):
    write(yolo / "train" / "images" / "a.xml", xml(("dog", 1, 1, 10, 5)))
    with pytest.raises(ValueError, match="could be in the form of voc or yolo"):
        convert_any(yolo)
    assert convert_any(yolo / "data.yaml").form == "yolo"


def test_other_data_are_refused(tmp_path):
    save_image(tmp_path / "a.jpg")
    write(tmp_path / "cvat.xml", "<annotations></annotations>")
    write(tmp_path / "empty.json", "")
    with pytest.raises(ValueError, match=r"no known form: .*COCO's .*classes\.txt.*VOC"):
        convert_any(tmp_path)
    with pytest.raises(ValueError, match=r"a\.jpg is of no known form"):
        convert_any(tmp_path / "a.jpg")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        convert_any(tmp_path / "nowhere")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-be"])
def test_coco_files_may_be_in_any_encoding_of_unicode(tmp_path, encoding):
    save_image(tmp_path / "train" / "é.jpg")
    path = tmp_path / "train" / "_annotations.coco.json"
    path.write_text(coco("é.jpg"), encoding=encoding)
    source = convert_any(tmp_path)
    assert source.form == "coco" and source.splits == {"train": (path, path.parent)}
