"""visualize_alignment.py on the generated images, for detectors and configs of several kinds."""

import json
from pathlib import Path

import cv2
import pytest
import torch
from script_runs import Command
from script_runs import run as run_script

from detectron2 import model_zoo
from detectron2.config import LazyConfig
from tood_d2.config import load_run, register_datasets
from tood_d2.data import register_coco_json

SMALL_CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "tood_R_18_FPN_small.py")


@pytest.fixture
def draw(tmp_path):
    """Runs the tool in an empty folder with a config and other arguments."""

    def _draw(*args):
        argv = ["tools/visualize_alignment.py", "--config-file", *map(str, args)]
        return run_script(Command(argv), tmp_path)

    return _draw


@pytest.fixture
def pictures(tmp_path):
    """The default folder for the pictures."""
    return tmp_path / "output" / "alignment_figures"


@pytest.fixture(scope="module")
def json_file(shapes, tmp_path_factory):
    """Path of a JSON with the three validation images and at most two objects of each."""
    content = json.loads((shapes / "val.json").read_text())
    of_images = [
        [x for x in content["annotations"] if x["image_id"] == image["id"]]
        for image in content["images"]
    ]
    content["annotations"] = [x for annotations in of_images for x in annotations[:2]]
    path = tmp_path_factory.mktemp("data") / "val.json"
    path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture(scope="module")
def trained(tiny_overrides, json_file, tmp_path_factory):
    """Folder of a TOOD's config.yaml and model.pth."""
    folder = tmp_path_factory.mktemp("model")
    overrides = [f"dataset.test_json={json_file}", f"train.init_checkpoint={folder}/model.pth"]
    run = register_datasets(load_run(SMALL_CONFIG, [*tiny_overrides, *overrides]))
    torch.manual_seed(0)
    torch.save({"model": run.build_model().state_dict()}, folder / "model.pth")
    LazyConfig.save(run.cfg, str(folder / "config.yaml"))
    return folder


@pytest.fixture(scope="module")
def retinanet(shapes, json_file, tmp_path_factory):
    """Config of a RetinaNet, with overrides."""
    folder = tmp_path_factory.mktemp("retinanet")
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
    torch.save({"model": load_run(config, opts).build_model().state_dict()}, options[opts[-2]])
    return config, opts


@pytest.fixture(scope="module")
def objects(json_file):
    """Names of the pictures of all objects, image by image."""
    content = json.loads(Path(json_file).read_text())
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


def test_all_objects_and_the_internals_are_drawn(draw, trained, objects, pictures):
    outcome = draw(trained / "config.yaml", "--internals")
    assert outcome.status == 0, outcome.output
    names = sum(objects.values(), [])
    assert f"{len(names)} objects" in outcome.output
    names += [f"{image_id}_internals.png" for image_id, of_image in objects.items() if of_image]
    check_pictures(pictures, names)


def test_two_detectors_are_drawn_below_each_other(draw, trained, retinanet, objects, pictures):
    config = trained / "config.yaml"
    first, second, *_ = objects
    choice = ["--image-ids", second, first, "--objects", 0]
    names = [f"{first}_0.png", f"{second}_0.png"]
    outcome = draw(config, *choice)
    assert outcome.status == 0, outcome.output
    height = check_pictures(pictures, names)
    yaml, opts = retinanet
    outcome = draw(config, *choice, "--other-config-file", yaml, "--other-opts", *opts)
    assert outcome.status == 0, outcome.output
    assert check_pictures(pictures, names) == pytest.approx(2 * height, abs=2)


def test_crowds_and_empty_boxes_are_no_objects(
    draw, trained, objects, json_file, pictures, tmp_path
):
    content = json.loads(Path(json_file).read_text())
    first, second, _ = (x["id"] for x in content["images"])
    content["annotations"] = [
        dict(x, iscrowd=int(x["image_id"] != second)) for x in content["annotations"]
    ]
    content["annotations"] += [
        {"id": 1000 + id_, "image_id": id_, "category_id": 1, "iscrowd": 0, "area": 1}
        | {"bbox": [5000, 5000, 1, 1]}
        for id_ in (first, second)
    ]
    (tmp_path / "few.json").write_text(json.dumps(content))
    opts = ["--opts", f"dataset.test_json={tmp_path}/few.json"]
    config = trained / "config.yaml"
    outcome = draw(config, *opts)
    assert outcome.status == 0, outcome.output
    check_pictures(pictures, objects[second])
    outcome = draw(config, "--objects", 0, "--image-ids", first, *opts)
    assert outcome.status == 2
    assert f"image {first} has 0 objects" in outcome.messages[-1]


class TestBadInput:
    @pytest.fixture
    def fails(self, draw):
        """Runs the tool, which must fail with a message that has this text."""

        def _fails(text, *args):
            outcome = draw(*args)
            assert outcome.status == 2
            assert outcome.messages[-1].startswith("visualize_alignment.py: ")
            assert text in outcome.messages[-1]

        return _fails

    @pytest.fixture
    def config(self, trained):
        return trained / "config.yaml"

    def test_no_config_file(self, fails, config):
        fails("nowhere.py", "nowhere.py")
        fails("nowhere.py", config, "--other-config-file", "nowhere.py")

    def test_no_weights(self, fails, config):
        fails("train.init_checkpoint", config, "--opts", "train.init_checkpoint=")
        fails("nowhere.pth", config, "--opts", "train.init_checkpoint=nowhere.pth")

    def test_unknown_image(self, fails, config):
        fails("no image with the id 12345", config, "--image-ids", 12345)

    @pytest.mark.parametrize("index", [-1, 1000])
    def test_index_of_no_object(self, fails, config, index):
        fails(f"none with index {index}", config, "--objects", index)

    def test_data_without_these_images(self, fails, config, json_file, tmp_path):
        content = json.loads(Path(json_file).read_text())
        content["images"] = content["images"][1:]
        ids = {x["id"] for x in content["images"]}
        content["annotations"] = [x for x in content["annotations"] if x["image_id"] in ids]
        (tmp_path / "fewer.json").write_text(json.dumps(content))
        opts = ["--other-opts", f"dataset.test_json={tmp_path}/fewer.json"]
        fails("differ in image", config, "--other-config-file", config, *opts)

    def test_data_of_other_classes(self, fails, config, retinanet, json_file, shapes, tmp_path):
        content = json.loads(Path(json_file).read_text())
        content["categories"][0]["name"] = "disc"
        renamed = str(tmp_path / "renamed.json")
        Path(renamed).write_text(json.dumps(content))
        register_coco_json(renamed, f"{shapes}/val")
        yaml, opts = retinanet
        opts = [*opts, "DATASETS.TEST", f"('{renamed}',)"]
        fails("their classes", config, "--other-config-file", yaml, "--other-opts", *opts)

    def test_model_that_is_not_dense(self, fails, retinanet, tmp_path):
        _, opts = retinanet
        opts = [*opts, "MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.RES2_OUT_CHANNELS", "64"]
        opts += ["MODEL.WEIGHTS", f"{tmp_path}/rpn.pth"]
        config = model_zoo.get_config_file("COCO-Detection/rpn_R_50_FPN_1x.yaml")
        model = load_run(config, opts).build_model()
        torch.save({"model": model.state_dict()}, tmp_path / "rpn.pth")
        fails("ProposalNetwork", config, "--opts", *opts)

    def test_internals_of_another_head(self, fails, retinanet):
        config, opts = retinanet
        fails("--internals", config, "--internals", "--opts", *opts)

    def test_overrides_of_no_other_config(self, draw, config):
        outcome = draw(config, "--other-opts", "train.device=cpu")
        assert outcome.status == 2 and "--other-config-file" in outcome.messages[-1]

    def test_pictures_of_other_programs_stay(self, fails, config, objects, tmp_path):
        first, *_ = objects
        path = tmp_path / "out" / f"{first}_0.png"
        path.parent.mkdir()
        path.write_text("a picture")
        fails("is not drawn by tood_d2", config, "--image-ids", first, "--output", "out")
        assert path.read_text() == "a picture"

    def test_file_in_place_of_the_output_folder(self, fails, config, tmp_path):
        (tmp_path / "results").write_text("")
        fails("results", config, "--output", "results")
