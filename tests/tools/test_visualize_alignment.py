"""visualize_alignment.py on the generated images, for detectors and configs of several kinds."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch

from detectron2 import model_zoo
from detectron2.config import LazyConfig
from tood_d2.config import build_model, load_config
from tood_d2.config.datasets import register_datasets
from tood_d2.data import register_coco_json

ROOT = Path(__file__).resolve().parents[2]
TOOL = "tools/visualize_alignment.py"
SMALL_CONFIG = str(ROOT / "configs" / "tood_R_18_FPN_small.py")


@pytest.fixture
def run(load_script, monkeypatch, capsys, tmp_path):
    """Runs the tool: exit status and standard error."""
    tool = load_script(TOOL)
    monkeypatch.setattr(tool, "setup_logger", lambda name: None)

    def _run(*args):
        output = ["--output", str(tmp_path / "results")]
        argv = ["visualize_alignment.py", *output, "--config-file", *map(str, args)]
        monkeypatch.setattr(sys, "argv", argv)
        try:
            status = tool.main()
        except SystemExit as stop:
            status = stop.code
        return status, capsys.readouterr().err

    return _run


@pytest.fixture(scope="module")
def trained(tiny_overrides, tmp_path_factory):
    """Folder of a TOOD's config.yaml and model.pth."""
    folder = tmp_path_factory.mktemp("model")
    cfg = load_config(SMALL_CONFIG, [*tiny_overrides, f"train.init_checkpoint={folder}/model.pth"])
    register_datasets(cfg)
    torch.manual_seed(0)
    torch.save({"model": build_model(cfg).state_dict()}, folder / "model.pth")
    LazyConfig.save(cfg, str(folder / "config.yaml"))
    return folder


@pytest.fixture(scope="module")
def retinanet(shapes, tmp_path_factory):
    """Config of a RetinaNet, with overrides."""
    folder = tmp_path_factory.mktemp("retinanet")
    json_file = f"{shapes}/val.json"
    register_coco_json(json_file, f"{shapes}/val")
    options = {
        "DATASETS.TEST": f"('{json_file}',)",
        "INPUT.MIN_SIZE_TEST": "64",
        "MODEL.DEVICE": "cpu",
        "MODEL.RETINANET.NUM_CLASSES": "4",
        "MODEL.RETINANET.NUM_CONVS": "1",
        "MODEL.WEIGHTS": f"{folder}/retinanet.pth",
    }
    opts = [x for option in options.items() for x in option]
    config = model_zoo.get_config_file("COCO-Detection/retinanet_R_50_FPN_1x.yaml")
    torch.save({"model": build_model(load_config(config, opts)).state_dict()}, options[opts[-2]])
    return config, opts


@pytest.fixture(scope="module")
def objects(shapes):
    """Names of the pictures of all objects, image by image."""
    content = json.loads((shapes / "val.json").read_text())
    image_ids = [x["image_id"] for x in content["annotations"]]
    return {
        x["id"]: [f"{x['id']}_{i}.png" for i in range(image_ids.count(x["id"]))]
        for x in content["images"]
    }


def check_pictures(folder, names):
    """Checks which pictures there are and that none is blank; returns the height of one."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    for name in names:
        picture = cv2.imread(str(folder / name))
        assert picture.std() > 10
    return picture.shape[0]


def test_all_objects(trained, objects, tmp_path):
    config = trained / "config.yaml"
    command = [sys.executable, str(ROOT / TOOL), "--internals", "--config-file", str(config)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    names = sum(objects.values(), [])
    assert f"{len(names)} objects" in result.stdout
    names += [f"{image_id}_internals.png" for image_id, pictures in objects.items() if pictures]
    check_pictures(tmp_path / "output" / "alignment_figures", names)


def test_chosen_objects_of_two_detectors(run, trained, retinanet, objects, tmp_path):
    config = trained / "config.yaml"
    first, second, *_ = objects
    choice = ["--image-ids", second, first, "--objects", 0]
    names = [f"{first}_0.png", f"{second}_0.png"]
    status, errors = run(config, *choice)
    assert status == 0, errors
    height = check_pictures(tmp_path / "results", names)
    yaml, opts = retinanet
    status, errors = run(config, *choice, "--other-config-file", yaml, "--other-opts", *opts)
    assert status == 0, errors
    assert check_pictures(tmp_path / "results", names) == pytest.approx(2 * height, abs=2)


def test_crowds_and_empty_boxes_are_no_objects(run, trained, objects, shapes, tmp_path):
    content = json.loads((shapes / "val.json").read_text())
    first, second, _ = (x["id"] for x in content["images"])
    content["annotations"] = [
        dict(x, iscrowd=int(x["image_id"] != second)) for x in content["annotations"]
    ]
    content["annotations"] += [
        {"id": 1000 + id_, "image_id": id_, "category_id": 1, "iscrowd": 0, "area": 1}
        | {"bbox": [5000, 5000, 1, 1]}
        for id_ in (first, second)
    ]
    json_file = tmp_path / "few.json"
    json_file.write_text(json.dumps(content))
    opts = ["--opts", f"dataset.test_json={json_file}"]
    config = trained / "config.yaml"
    status, errors = run(config, *opts)
    assert status == 0, errors
    check_pictures(tmp_path / "results", objects[second])
    status, errors = run(config, "--objects", 0, "--image-ids", first, *opts)
    assert status == 2
    assert f"image {first} has 0 objects" in errors


class TestBadInput:
    @pytest.fixture
    def fails(self, run):
        """Runs the tool, which must fail with a message that has this text."""

        def _fails(text, *args):
            status, errors = run(*args)
            assert status == 2
            assert errors.splitlines()[-1].startswith("visualize_alignment.py: ")
            assert text in errors.splitlines()[-1]

        return _fails

    @pytest.fixture
    def config(self, trained):
        return trained / "config.yaml"

    def test_config_file(self, fails, config):
        fails("nowhere.py", "nowhere.py")
        fails("nowhere.py", config, "--other-config-file", "nowhere.py")

    def test_weights(self, fails, config):
        fails("train.init_checkpoint", config, "--opts", "train.init_checkpoint=")
        fails("nowhere.pth", config, "--opts", "train.init_checkpoint=nowhere.pth")

    def test_image(self, fails, config):
        fails("no image with the id 12345", config, "--image-ids", 12345)

    @pytest.mark.parametrize("index", [-1, 1000])
    def test_object(self, fails, config, index):
        fails(f"none with index {index}", config, "--objects", index)

    def test_data_without_these_images(self, fails, config, shapes, tmp_path):
        content = json.loads((shapes / "val.json").read_text())
        content["images"] = content["images"][1:]
        ids = {x["id"] for x in content["images"]}
        content["annotations"] = [x for x in content["annotations"] if x["image_id"] in ids]
        (tmp_path / "fewer.json").write_text(json.dumps(content))
        opts = ["--other-opts", f"dataset.test_json={tmp_path}/fewer.json"]
        fails("differ in image", config, "--other-config-file", config, *opts)

    def test_data_of_other_classes(self, fails, config, retinanet, shapes, tmp_path):
        content = json.loads((shapes / "val.json").read_text())
        content["categories"][0]["name"] = "disc"
        json_file = tmp_path / "renamed.json"
        json_file.write_text(json.dumps(content))
        register_coco_json(str(json_file), f"{shapes}/val")
        yaml, opts = retinanet
        opts = [*opts, "DATASETS.TEST", f"('{json_file}',)"]
        fails("their classes", config, "--other-config-file", yaml, "--other-opts", *opts)

    def test_model_that_is_not_dense(self, fails, retinanet):
        _, opts = retinanet
        config = model_zoo.get_config_file("COCO-Detection/rpn_R_50_FPN_1x.yaml")
        fails("ProposalNetwork", config, "--opts", *opts)

    def test_internals_of_another_head(self, fails, retinanet):
        config, opts = retinanet
        fails("--internals", config, "--internals", "--opts", *opts)

    def test_options_of_no_config(self, run, config):
        status, error = run(config, "--other-opts", "train.device=cpu")
        assert status == 2 and "--other-config-file" in error

    def test_output(self, fails, config, tmp_path):
        (tmp_path / "results").write_text("")
        fails(f"{tmp_path}/results", config)
