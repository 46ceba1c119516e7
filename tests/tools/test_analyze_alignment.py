"""analyze_alignment.py on the generated images, for detectors and configs of several kinds."""

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
from tood_d2.inference import Predictor

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture
def analyze(tmp_path):
    """Runs the tool in an empty folder, with "results" for its output."""

    def _analyze(config, *opts):
        argv = ["tools/analyze_alignment.py", "--config-file", str(config), "--output", "results"]
        return run_script(Command([*argv, "--opts", *opts]), tmp_path)

    return _analyze


def save_weights(run, path):
    """Weights of a model that detects large boxes everywhere."""
    torch.manual_seed(0)
    model = run.build_model()
    for name, parameter in model.head.named_parameters():
        if name in ("cls_logits.bias", "cls_alignment.2.bias"):
            torch.nn.init.zeros_(parameter)
        elif name == "box_reg.bias":
            torch.nn.init.constant_(parameter, 1.0)
    torch.save({"model": model.state_dict()}, path)


@pytest.fixture(scope="module")
def trained(tiny_overrides, tmp_path_factory):
    """Folder of a TOOD's config.yaml and model.pth."""
    folder = tmp_path_factory.mktemp("model")
    # NMS that suppresses almost nothing, for redundant detections.
    overrides = [*tiny_overrides, "model.test_nms_thresh=0.95"]
    run = register_datasets(load_run(str(CONFIGS / "tood_R_18_FPN_small.py"), overrides))
    save_weights(run, folder / "model.pth")
    LazyConfig.save(run.cfg, str(folder / "config.yaml"))
    return folder


def check_results(folder, num_instances):
    """Reads the JSON file and checks what holds for any detector."""
    results = json.loads((folder / "alignment.json").read_text())
    pccs = [x for x in results["instance_pcc"] if x is not None]
    assert results["num_instances"] == len(results["instance_pcc"]) == num_instances
    assert results["num_instances_without_pcc"] == num_instances - len(pccs)
    assert results["pcc"] == pytest.approx(sum(pccs) / len(pccs))
    assert results["iou"] == pytest.approx(sum(results["instance_iou"]) / num_instances)
    assert -1 <= results["pcc"] <= 1 and 0 < results["iou"] < 1
    picture = cv2.imread(str(folder / "alignment.png"))
    assert picture.shape[1] > picture.shape[0] > 300
    assert picture.std() > 10
    return results


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    area = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (a, b)]
    return overlap / (sum(area) - overlap)


def count_detections(trained, shapes):
    """Correct, redundant and erroneous detections of a predictor, in pixels of the images."""
    run = load_run(str(trained / "config.yaml"), weights=f"{trained}/model.pth")
    predictor = Predictor(run)
    content = json.loads((shapes / "val.json").read_text())
    ids = sorted(category["id"] for category in content["categories"])
    correct = redundant = error = 0
    for image in content["images"]:
        objects = []
        for x in content["annotations"]:
            if x["image_id"] == image["id"]:
                x1, y1, width, height = x["bbox"]
                objects.append((ids.index(x["category_id"]), (x1, y1, x1 + width, y1 + height)))
        found = set()
        instances = predictor(cv2.imread(str(shapes / "val" / image["file_name"])))["instances"]
        for box, cls in zip(
            instances.pred_boxes.tensor.tolist(), instances.pred_classes.tolist(), strict=True
        ):
            overlaps = [(iou(box, gt), i) for i, (c, gt) in enumerate(objects) if c == cls]
            best, index = max(overlaps, default=(0, None))
            if best >= 0.5:
                redundant += index in found
                correct += index not in found
                found.add(index)
            elif best > 0.1:
                error += 1
    return {"correct": correct, "redundant": redundant, "error": error}


def test_results_and_table_of_a_tood(analyze, trained, shapes, tmp_path):
    outcome = analyze(trained / "config.yaml", f"train.init_checkpoint={trained}/model.pth")
    assert outcome.status == 0, outcome.output
    num_instances = len(json.loads((shapes / "val.json").read_text())["annotations"])
    results = check_results(tmp_path / "results", num_instances)
    counts = count_detections(trained, shapes)
    assert min(counts.values()) > 0
    assert {key: results[key] for key in counts} == counts
    header, _, row = [x for x in outcome.output.splitlines() if x.startswith("|")][-3:]
    columns = [[x.strip() for x in line.strip("|").split("|")] for line in (header, row)]
    assert dict(zip(*columns, strict=True)) == {
        "PCC (top-50)": f"{results['pcc']:.3f}",
        "IoU (top-10)": f"{results['iou']:.3f}",
        "#Correct boxes": str(counts["correct"]),
        "#Redundant boxes": str(counts["redundant"]),
        "#Error boxes": str(counts["error"]),
        "#Instances": str(num_instances),
    }


def test_lazy_config_of_another_detector(analyze, trained, shapes, tmp_path):
    config = tmp_path / "fcos.py"
    config.write_text(f"""
from detectron2 import model_zoo
from detectron2.config import LazyConfig

model = model_zoo.get_config("common/models/fcos.py").model
model.head.conv_dims = [64]
model.head.prior_prob = 0.5
cfg = LazyConfig.load({str(trained / "config.yaml")!r})
dataloader, dataset, train = cfg.dataloader, cfg.dataset, cfg.train
dataloader.test.mapper.image_format = "BGR"
""")
    save_weights(register_datasets(load_run(str(config))), tmp_path / "fcos.pth")
    outcome = analyze(config, f"train.init_checkpoint={tmp_path}/fcos.pth")
    assert outcome.status == 0, outcome.output
    num_instances = len(json.loads((shapes / "val.json").read_text())["annotations"])
    check_results(tmp_path / "results", num_instances)


def test_yaml_config_of_another_detector(analyze, shapes, tmp_path):
    json_file = f"{shapes}/val.json"
    register_coco_json(json_file, f"{shapes}/val")
    options = {
        "DATASETS.TEST": f"('{json_file}',)",
        "DATALOADER.NUM_WORKERS": "0",
        "INPUT.MIN_SIZE_TEST": "96",
        "MODEL.DEVICE": "cpu",
        "MODEL.RETINANET.NUM_CLASSES": "4",
        "MODEL.RETINANET.NUM_CONVS": "1",
        "MODEL.RETINANET.PRIOR_PROB": "0.5",
        "MODEL.WEIGHTS": f"{tmp_path}/retinanet.pth",
    }
    opts = [x for option in options.items() for x in option]
    config = model_zoo.get_config_file("COCO-Detection/retinanet_R_50_FPN_1x.yaml")
    save_weights(load_run(config, opts), tmp_path / "retinanet.pth")
    outcome = analyze(config, *opts)
    assert outcome.status == 0, outcome.output
    num_instances = len(json.loads(Path(json_file).read_text())["annotations"])
    check_results(tmp_path / "results", num_instances)


class TestBadInput:
    @pytest.fixture
    def fails(self, analyze):
        """Runs the tool, which must fail with a message that has this text."""

        def _fails(text, *args):
            outcome = analyze(*args)
            assert outcome.status == 2
            assert outcome.messages[-1].startswith("analyze_alignment.py: ")
            assert text in outcome.messages[-1]

        return _fails

    def test_no_config_file(self, fails):
        fails("nowhere.py", "nowhere.py")

    def test_misspelt_option(self, fails, trained):
        fails("train.init_chekpoint", trained / "config.yaml", "train.init_chekpoint=x.pth")

    def test_no_weights(self, fails, trained):
        fails("train.init_checkpoint", trained / "config.yaml", "train.init_checkpoint=")
        fails("nowhere.pth", trained / "config.yaml", "train.init_checkpoint=nowhere.pth")

    def test_unknown_data(self, fails, trained):
        fails("nowhere.json", trained / "config.yaml", "dataset.test_json=nowhere.json")
        yaml = CONFIGS / "tood_R_50_FPN_1x.yaml"
        fails("no data set 'nowhere' is registered", yaml, "DATASETS.TEST", "('nowhere',)")

    def test_model_that_is_not_dense(self, fails, shapes, tmp_path):
        json_file = f"{shapes}/val.json"
        register_coco_json(json_file, f"{shapes}/val")
        options = {
            "DATASETS.TEST": f"('{json_file}',)",
            "MODEL.RESNETS.DEPTH": "18",
            "MODEL.RESNETS.RES2_OUT_CHANNELS": "64",
            "MODEL.WEIGHTS": f"{tmp_path}/rpn.pth",
        }
        opts = [x for option in options.items() for x in option]
        config = model_zoo.get_config_file("COCO-Detection/rpn_R_50_FPN_1x.yaml")
        model = load_run(config, opts).build_model()
        torch.save({"model": model.state_dict()}, tmp_path / "rpn.pth")
        fails("ProposalNetwork", config, *opts)

    def test_file_in_place_of_the_output_folder(self, fails, trained, tmp_path):
        (tmp_path / "results").write_text("")
        fails("results", trained / "config.yaml")
