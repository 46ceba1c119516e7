import json
from pathlib import Path

import pytest
from PIL import Image

from detectron2.data import DatasetCatalog, MetadataCatalog
from tood_d2.config import load_config, load_run, register_datasets

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
LAZY = str(CONFIGS / "tood_R_18_FPN_small.py")
YAML = str(CONFIGS / "tood_R_50_FPN_1x.yaml")


def test_overrides():
    cfg = load_config(LAZY, ["train.max_iter=7", "model.backbone.bottom_up.stride_in_1x1=True"])
    assert cfg.train.max_iter == 7
    # Not in the config, but an argument of the function that is called.
    assert cfg.model.backbone.bottom_up.stride_in_1x1 is True
    for overrides in (["SOLVER.MAX_ITER", "7"], ["SOLVER.MAX_ITER=7"]):
        run = load_run(YAML, overrides)
        assert run.options.max_iter == 7 and run.overridden == {"SOLVER.MAX_ITER": 87960}


def test_a_dump_of_an_earlier_version_takes_options_that_are_newer(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("model: {}\ntrain: {device: cpu}\n")
    run = load_run(str(path), ["train.merge.method=wbf", "train.merge.weights=[2,1]"])
    assert (run.options.merge_method, run.options.merge_weights) == ("wbf", [2, 1])
    with pytest.raises(ValueError, match="unknown key 'train.merge.methods'"):
        load_run(str(path), ["train.merge.methods=wbf"])


@pytest.mark.parametrize(
    "path, override, message",
    [
        (LAZY, ["train.max_iters=7"], "unknown key 'train.max_iters', did you mean max_iter"),
        (LAZY, ["trian.max_iter=7"], "unknown key 'trian.max_iter'"),
        (LAZY, ["dataset.train_jsn=x"], "did you mean train_json"),
        (LAZY, ["train.max_iter"], "'train.max_iter' should have the form key=value"),
        (LAZY, ["train.max_iter=3", "--num-gpus", "2"], "--num-gpus: options come before"),
        (LAZY, ["model.head.num_classes=7"], "model.head.num_classes follows model.num_classes"),
        (YAML, ["SOLVER.MAX_ITERS", "7"], "SOLVER.MAX_ITERS"),
        (YAML, ["SOLVER.MAX_ITER"], "SOLVER.MAX_ITER"),
    ],
)
def test_wrong_overrides_are_named(path, override, message):
    with pytest.raises(ValueError, match=message):
        load_config(path, override)


def test_devices(monkeypatch):
    for path, override in ((LAZY, "train.device=gpu"), (YAML, "MODEL.DEVICE=gpu")):
        key = override.partition("=")[0]
        with pytest.raises(
            ValueError, match=f"{key} should be like cuda, cuda:1 or cpu, not 'gpu'"
        ):
            load_run(path, [override])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert load_run(LAZY, ["train.device=cuda:7"]).options.device == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert load_run(LAZY, ["train.device=cuda:1"]).options.device == "cuda:1"
    with pytest.raises(ValueError, match="train.device is cuda:2, this machine has 2 GPUs"):
        load_run(LAZY, ["train.device=cuda:2"])


def test_no_such_config():
    with pytest.raises(FileNotFoundError, match="'nowhere.py': no such config file"):
        load_config("nowhere.py")


@pytest.mark.parametrize(
    "name", ["tood_R_50_FPN_1x", "tood_R_50_FPN_1x.py", "tood_R_50_FPN_1x.yaml"]
)
def test_a_shipped_config_by_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_run(name).options.max_iter == 87_960  # 12 epochs of 7330 batches
    (tmp_path / name).write_text("[a file of this name comes first")
    with pytest.raises(ValueError, match=name):
        load_run(name)


def test_a_shipped_config_that_is_misspelt():
    with pytest.raises(FileNotFoundError, match="there is tood_R_50_FPN_1x"):
        load_run("tood_R_50_FPN_1")


def test_class_names_of_coco():
    for path in (YAML, str(CONFIGS / "tood_R_50_FPN_1x.py")):
        names = load_run(path).class_names
        assert len(names) == 80 and names[0] == "person"


@pytest.fixture
def data(tmp_path):
    """Two data sets that differ in one category; returns a function for their overrides."""
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    categories = {"train": [{"id": 2, "name": "cat"}], "test": [{"id": 2, "name": "dog"}]}
    for split, value in categories.items():
        content = {
            "images": [{"id": 1, "file_name": "a.png", "width": 9, "height": 9}],
            "annotations": [],
            "categories": value,
        }
        (tmp_path / f"{split}.json").write_text(json.dumps(content))

    def overrides(train, test):
        return [
            item
            for key, name in (("train", train), ("test", test))
            if name
            for item in (
                f"dataset.{key}_json={tmp_path}/{name}.json",
                f"dataset.{key}_images={tmp_path}",
            )
        ]

    yield overrides
    for split in categories:
        if f"{tmp_path}/{split}.json" in DatasetCatalog:
            DatasetCatalog.pop(f"{tmp_path}/{split}.json")
            MetadataCatalog.pop(f"{tmp_path}/{split}.json")


def test_classes_come_from_the_json(data):
    run = register_datasets(load_run(LAZY, data("train", "train")))
    cfg = run.cfg
    assert cfg.model.num_classes == 1
    assert cfg.model.head.num_classes == 1
    assert run.class_names == ["cat"]
    assert cfg.dataloader.train.dataset.names == cfg.dataset.train_json
    assert cfg.dataloader.evaluator.dataset_name == cfg.dataset.test_json


def test_different_categories_are_named(data):
    with pytest.raises(ValueError, match=r"differ in their categories: 2 \((cat|dog)\)"):
        register_datasets(load_run(LAZY, data("train", "test")))


def test_incomplete_data(data):
    with pytest.raises(ValueError, match="dataset.test_json and dataset.test_images are missing"):
        register_datasets(load_run(LAZY, data("train", None)))
    with pytest.raises(ValueError, match="dataset.train_json and dataset.train_images go together"):
        register_datasets(load_run(LAZY, data("train", "train")[1:]))


def test_evaluation_needs_test_data_only(data):
    assert register_datasets(load_run(LAZY, data(None, "test"))).class_names == ["dog"]
