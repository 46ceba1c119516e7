"""Data sets of both kinds of config. That of LazyConfig is registered in test_config.py, too."""

import json
from pathlib import Path

import pytest

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from tood_d2.config import load_run, register_datasets

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
KINDS = ("py", "yaml")


def load(kind, folder, keys=("train_json", "train_images", "test_json", "test_images"), *overrides):
    """The R-50 1x config with data of a folder."""
    values = dict(
        train_json=f"{folder}/train.json",
        train_images=f"{folder}/train",
        test_json=f"{folder}/val.json",
        test_images=f"{folder}/val",
    )
    overrides = list(overrides)
    for key in keys:
        if kind == "py":
            overrides.append(f"dataset.{key}={values[key]}")
        else:
            overrides += [f"DATASETS.{key.upper()}", values[key]]
    return load_run(str(CONFIGS / f"tood_R_50_FPN_1x.{kind}"), overrides)


def test_a_yaml_config_is_filled_in(shapes):
    run = register_datasets(load("yaml", shapes))
    cfg = run.cfg
    assert (run.train_names, run.test_names) == ([f"{shapes}/train.json"], [f"{shapes}/val.json"])
    assert cfg.MODEL.TOOD.NUM_CLASSES == 4
    assert cfg.DATASETS.CLASS_NAMES == ["circle", "rectangle", "triangle", "star"]
    assert run.class_names == cfg.DATASETS.CLASS_NAMES
    # What is written serves again.
    again = load("yaml", shapes)
    again.cfg.merge_from_other_cfg(cfg)
    assert register_datasets(again).cfg == cfg


def test_data_sets_by_name_are_left_alone():
    run = load("yaml", "", keys=())
    registered = register_datasets(run)
    assert registered.test_names == run.test_names == ["coco_2017_val"]
    # Those who use the trained model are told its classes.
    assert registered.options.class_names[0] == "person" and len(registered.class_names) == 80


@pytest.mark.parametrize("kind, key", [("py", "dataset.test_json"), ("yaml", "DATASETS.TEST_JSON")])
def test_missing_data_are_named_before_anything_else(kind, key, monkeypatch):
    run = load(kind, "", keys=())
    with pytest.raises(
        FileNotFoundError, match=f"instances_val2017.json.*DETECTRON2_DATASETS.*{key}"
    ):
        register_datasets(run, needed=["test"])
    with pytest.raises(ValueError, match=f"no data set 'mine' is registered.*--trust.*{key}"):
        register_datasets(run.with_datasets(test="mine"), needed=["test"])


def test_category_ids_may_be_text_in_one_of_the_files(shapes, tmp_path):
    def write(ids):
        content = json.loads((shapes / "val.json").read_text())
        for item, key in [(x, "id") for x in content["categories"]] + [
            (x, "category_id") for x in content["annotations"]
        ]:
            item[key] = ids(item[key])
        path = tmp_path / "text.json"
        path.write_text(json.dumps(content))
        overrides = [f"dataset.test_json={path}", f"dataset.test_images={shapes / 'val'}"]
        overrides += [f"dataset.train_json={shapes / 'train.json'}"]
        overrides += [f"dataset.train_images={shapes / 'train'}"]
        try:
            return register_datasets(load_run(str(CONFIGS / "tood_R_18_FPN_small.py"), overrides))
        finally:
            if str(path) in DatasetCatalog:
                DatasetCatalog.pop(str(path))
                MetadataCatalog.pop(str(path))

    assert write(str).class_names == ["circle", "rectangle", "triangle", "star"]
    with pytest.raises(ValueError, match=r"differ in their categories: 1 \(circle\), 2 \(rect"):
        write(lambda id_: f"c{id_}")
    with pytest.raises(ValueError, match=r"differ in their categories: 1 \(circle\), 10 \(star"):
        write(lambda id_: id_ + 5)


def test_test_data_by_name_are_read_before_training(shapes, tmp_path):
    content = json.loads((shapes / "val.json").read_text())
    content["annotations"][0]["bbox"] = [1, 2, None, 4]
    (tmp_path / "bad.json").write_text(json.dumps(content))
    register_coco_instances("bad_by_name", {}, str(tmp_path / "bad.json"), str(shapes / "val"))
    run = load_run(str(CONFIGS / "tood_R_18_FPN_small.py"), ["dataset.test=bad_by_name"])
    try:
        with pytest.raises(ValueError, match=r"bad.json: annotation 1: box \[1, 2, None, 4\]"):
            register_datasets(run, needed=("test",))
        MetadataCatalog.pop("bad_by_name")
        MetadataCatalog.get("bad_by_name").set(json_file=str(tmp_path / "bad.json"))
        MetadataCatalog.get("bad_by_name").evaluator_type = "lvis"  # whose files are other ones
        register_datasets(run, needed=("test",))
    finally:
        DatasetCatalog.pop("bad_by_name")
        MetadataCatalog.pop("bad_by_name")


@pytest.mark.parametrize("kind", KINDS)
def test_class_names_of_data_sets_registered_by_functions(kind):
    DatasetCatalog.register("test_mine", list)
    MetadataCatalog.get("test_mine").thing_classes = ["cat", "dog"]
    try:
        run = load(kind, "", keys=()).with_datasets(train="test_mine", test="test_mine")
        run = register_datasets(run, needed=["train", "test"])
    finally:
        DatasetCatalog.remove("test_mine")
        MetadataCatalog.remove("test_mine")
    assert run.options.class_names == ["cat", "dog"]


@pytest.mark.parametrize(
    "kind, key", [("py", "model.num_classes"), ("yaml", "MODEL.TOOD.NUM_CLASSES")]
)
def test_another_number_of_classes_is_refused(kind, key, shapes):
    override = [f"{key}=7"] if kind == "py" else [key, "7"]
    keys = ("train_json", "train_images", "test_json", "test_images")
    with pytest.raises(ValueError, match=f"{key} is 7, but .*val.json has 4 classes"):
        register_datasets(load(kind, shapes, keys, *override))


@pytest.mark.parametrize(
    "keys, message",
    [
        (["train_json"], "DATASETS.TRAIN_JSON and DATASETS.TRAIN_IMAGES go together"),
        (["test_images"], "DATASETS.TEST_JSON and DATASETS.TEST_IMAGES go together"),
        (
            ["train_json", "train_images"],
            "DATASETS.TEST_JSON and DATASETS.TEST_IMAGES are missing",
        ),
    ],
)
def test_incomplete_data(shapes, keys, message):
    with pytest.raises(ValueError, match=message):
        register_datasets(load("yaml", shapes, keys))


def test_training_images_are_counted(shapes, tmp_path):
    content = json.loads((shapes / "train.json").read_text())
    empty = content["images"][0]["id"]
    content["annotations"] = [x for x in content["annotations"] if x["image_id"] != empty]
    (tmp_path / "train.json").write_text(json.dumps(content))
    for name in ("train", "val", "val.json"):
        (tmp_path / name).symlink_to(shapes / name)
    switches = {
        "py": ("dataloader.train.dataset.filter_empty=False",),
        "yaml": ("DATALOADER.FILTER_EMPTY_ANNOTATIONS", False),
    }
    keys = ("train_json", "train_images", "test_json", "test_images")
    for kind, switch in switches.items():
        for overrides, expected in (((), 7), (switch, 8)):
            run = register_datasets(load(kind, tmp_path, keys, *overrides))
            assert len(run.training_dicts()) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_annotated_test_data_have_ground_truth(kind, shapes):
    run = register_datasets(load(kind, shapes))
    records, mapper = run.test_dicts(), run.annotated_test_mapper()
    assert [x["image_id"] for x in records] == [1, 2, 3]
    content = json.loads((shapes / "val.json").read_text())
    boxes = [x["bbox"] for x in content["annotations"] if x["image_id"] == 1]
    record = mapper(records[0])
    assert record["image"].shape == (3, 800, 1067)  # 240 x 320, scaled by 800 / 240
    instances = record["instances"]
    assert instances.image_size == (800, 1067) and len(instances) == len(boxes)
    x, y, width, height = (800 / 240 * value for value in boxes[0])
    expected = pytest.approx([x, y, x + width, y + height], abs=0.5)  # 1067 is 1066.7, rounded
    assert instances.gt_boxes.tensor[0].tolist() == expected
    assert set(instances.gt_classes.tolist()) <= {0, 1, 2, 3}


class TestCategoryIds:
    @pytest.mark.parametrize("kind", KINDS)
    def test_of_coco(self, kind):
        ids = load(kind, "", keys=()).category_ids
        assert len(ids) == 80
        assert ids[:12] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13]

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_a_json_file(self, kind, shapes, tmp_path):
        run = register_datasets(load(kind, shapes))
        assert run.category_ids == [1, 2, 4, 5]
        # The file may be gone later or be another one.
        path = tmp_path / "val.json"
        run = run.with_options(test_json=str(path)).with_datasets(train="gone", test="gone")
        for content in (None, "{}", "no JSON", '{"categories": [{"id": 7, "name": "cat"}]}'):
            if content is not None:
                path.write_text(content)
            assert run.category_ids == [1, 2, 4, 5]
            # Configs of earlier versions do not tell them.
            assert run.with_options(category_ids=[]).category_ids == [1, 2, 3, 4]
