"""Folders as labelling tools export them are trained on without a conversion by hand."""

import json
import shutil
from pathlib import Path

import pytest

from tood_d2.config import load_run, register_datasets
from tood_d2.config.sources import with_source

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "tood_R_18_FPN_small.py")


@pytest.fixture
def load(tmp_path):
    def _load(source, *overrides):
        output = f"train.output_dir={tmp_path / 'out'}"
        return load_run(CONFIG, [f"dataset.source={source}", output, *overrides])

    return _load


@pytest.fixture
def roboflow(shapes, tmp_path):
    """A COCO export: a JSON file in each split's folder, a placeholder class, ids from 0."""
    root = tmp_path / "roboflow"
    for split, name in (("train", "train"), ("val", "valid")):
        shutil.copytree(shapes / split, root / name)
        content = json.loads((shapes / f"{split}.json").read_text())
        content["categories"].insert(0, {"id": 0, "name": "things", "supercategory": "none"})
        for key in ("images", "annotations"):
            for item in content[key]:
                item["id"] -= 1
        for item in content["annotations"]:
            item["image_id"] -= 1
        (root / name / "_annotations.coco.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def labelimg(shapes, tmp_path):
    """VOC's XML beside each image, in one folder."""
    root = tmp_path / "labelimg"
    shutil.copytree(shapes / "train", root)
    content = json.loads((shapes / "train.json").read_text())
    names = {x["id"]: x["name"] for x in content["categories"]}
    for image in content["images"]:
        objects = ""
        for x in content["annotations"]:
            if x["image_id"] == image["id"]:
                left, top, width, height = x["bbox"]
                objects += (
                    f"<object><name>{names[x['category_id']]}</name><bndbox><xmin>{left + 1}</xmin>"
                    f"<ymin>{top + 1}</ymin><xmax>{left + width}</xmax><ymax>{top + height}</ymax>"
                    "</bndbox></object>"
                )
        path = root / image["file_name"]
        path.with_suffix(".xml").write_text(
            f"<annotation><filename>{path.name}</filename>{objects}</annotation>"
        )
    return root


def read(path):
    return json.loads(Path(path).read_text())


def test_a_coco_export_is_taken_as_it_is(load, roboflow):
    run = register_datasets(load(roboflow), needed=("train", "test"))
    options = run.options
    assert options.train_json == str(roboflow / "train" / "_annotations.coco.json")
    assert options.test_json == str(roboflow / "valid" / "_annotations.coco.json")
    assert options.train_images == str(roboflow / "train")
    assert options.class_names[0] == "things" and options.num_classes == len(options.class_names)
    num_boxes = len(read(options.train_json)["annotations"])
    assert sum(len(x["annotations"]) for x in run.training_dicts()) == num_boxes


def test_one_folder_of_images_and_xml_is_split(load, labelimg, shapes, tmp_path, log):
    run = register_datasets(load(labelimg), needed=("train", "test"))
    whole = read(shapes / "train.json")
    parts = [read(path) for path in (run.options.train_json, run.options.test_json)]
    num_images = len(whole["images"])
    assert [len(x["images"]) for x in parts] == [round(0.8 * num_images), round(0.2 * num_images)]
    assert sum(len(x["annotations"]) for x in parts) == len(whole["annotations"])
    assert run.options.train_json == str(tmp_path / "out" / "annotations" / "train.json")
    assert "has one split" in log.text
    # The config that training writes names the files.
    assert "source: ''" in run.dump() and run.options.train_json in run.dump()
    assert with_source(run) is run


def test_yaml_configs_have_a_key_for_it(roboflow, tmp_path):
    config = str(Path(CONFIG).with_name("tood_R_50_FPN_1x.yaml"))
    run = load_run(config, ["DATASETS.SOURCE", str(roboflow), "OUTPUT_DIR", str(tmp_path / "out")])
    assert with_source(run).options.test_images == str(roboflow / "valid")


def test_files_beside_it_are_refused(load, roboflow):
    with pytest.raises(ValueError, match=r"dataset.source .*goes without dataset.train_json"):
        with_source(load(roboflow, "dataset.train_json=x.json"))


def test_splits_of_other_names_are_refused(load, roboflow):
    (roboflow / "valid").rename(roboflow / "other")
    with pytest.raises(ValueError, match="its splits all, train are none to train on and to test"):
        with_source(load(roboflow))


def test_what_is_no_data_set_is_refused(load, tmp_path):
    with pytest.raises((FileNotFoundError, ValueError), match="nowhere"):
        with_source(load(tmp_path / "nowhere"))
