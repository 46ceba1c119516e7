"""Data sets of both kinds of config. That of LazyConfig is registered in test_config.py, too."""

import json
from pathlib import Path

import pytest

from tood_d2.config import count_training_images, load_config, register_datasets
from tood_d2.config.datasets import build_validation_loader, category_ids, class_names

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
    return load_config(str(CONFIGS / f"tood_R_50_FPN_1x.{kind}"), overrides)


def test_a_yaml_config_is_filled_in(shapes):
    cfg = load("yaml", shapes)
    register_datasets(cfg)
    names = cfg.DATASETS.TRAIN + cfg.DATASETS.TEST
    assert names == (f"{shapes}/train.json", f"{shapes}/val.json")
    assert cfg.MODEL.TOOD.NUM_CLASSES == 4
    assert cfg.DATASETS.CLASS_NAMES == ["circle", "rectangle", "triangle", "star"]
    assert class_names(cfg) == cfg.DATASETS.CLASS_NAMES
    # What is written serves again.
    again = load("yaml", shapes)
    again.merge_from_other_cfg(cfg)
    register_datasets(again)
    assert again == cfg


def test_data_sets_by_name_are_left_alone():
    cfg = load("yaml", "", keys=())
    before = cfg.clone()
    register_datasets(cfg)
    assert cfg == before
    assert class_names(cfg)[0] == "person"


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
            cfg = load(kind, tmp_path, keys, *overrides)
            register_datasets(cfg)
            assert count_training_images(cfg) == expected


@pytest.fixture(params=KINDS)
def cfg(request, shapes):
    cfg = load(request.param, shapes)
    register_datasets(cfg)
    return cfg


def test_validation_data_have_ground_truth(cfg, shapes):
    batches = list(build_validation_loader(cfg))
    content = json.loads((shapes / "val.json").read_text())
    assert [batch[0]["image_id"] for batch in batches] == [1, 2, 3]
    boxes = [x["bbox"] for x in content["annotations"] if x["image_id"] == 1]
    ((record,), *_) = batches
    assert record["image"].shape == (3, 800, 1067)  # 240 x 320, scaled by 800 / 240
    instances = record["instances"]
    assert instances.image_size == (800, 1067) and len(instances) == len(boxes)
    x, y, width, height = (800 / 240 * value for value in boxes[0])
    expected = pytest.approx([x, y, x + width, y + height], abs=0.5)  # 1067 is 1066.7, rounded
    assert instances.gt_boxes.tensor[0].tolist() == expected
    assert set(instances.gt_classes.tolist()) <= {0, 1, 2, 3}


@pytest.mark.parametrize("num_processes, shares", [(2, [[1], [2]]), (3, [[1], [2], [3]])])
def test_validation_data_are_shared_equally(cfg, monkeypatch, num_processes, shares):
    for rank, share in enumerate(shares):
        monkeypatch.setattr("detectron2.utils.comm.get_rank", lambda rank=rank: rank)
        monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: num_processes)
        loader = build_validation_loader(cfg)
        assert [batch[0]["image_id"] for batch in loader] == share


class TestCategoryIds:
    @pytest.mark.parametrize("kind", KINDS)
    def test_of_coco(self, kind):
        ids = category_ids(load_config(str(CONFIGS / f"tood_R_50_FPN_1x.{kind}")))
        assert len(ids) == 80
        assert ids[:12] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13]

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_a_json_file(self, kind, shapes, tmp_path):
        cfg = load(kind, shapes)
        register_datasets(cfg)
        assert category_ids(cfg) == [1, 2, 4, 5]
        # The file may be gone later or be another one.
        path = tmp_path / "val.json"
        node, key = (cfg.dataset, "test_json") if kind == "py" else (cfg.DATASETS, "TEST_JSON")
        node[key] = str(path)
        node["test" if kind == "py" else "TEST"] = str(path) if kind == "py" else (str(path),)
        node["train" if kind == "py" else "TRAIN"] = "" if kind == "py" else ()
        for content in (None, "{}", "no JSON", '{"categories": [{"id": 7, "name": "cat"}]}'):
            if content is not None:
                path.write_text(content)
            assert category_ids(cfg) == [1, 2, 3, 4]
