"""tools/export_model.py; the export itself is tested in tests/export."""

import json
from pathlib import Path

import cv2
import pytest
from script_runs import Command
from script_runs import run as run_script

from tood_d2.config import load_run
from tood_d2.evaluation import coco_results
from tood_d2.export.exporting import read_metadata
from tood_d2.inference import Predictor
from tood_d2.inference.runtimes.onnx_runtime import ONNXDetector

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ZOO = sorted(x.stem for x in CONFIGS.glob("tood_*.yaml"))


@pytest.fixture
def export(tmp_path):
    """Runs the tool in an empty folder."""
    return lambda *args: run_script(Command(["tools/export_model.py", *map(str, args)]), tmp_path)


@pytest.mark.parametrize("kind", ["py", "yaml"])
def test_metadata_are_those_of_the_config(kind):
    run = load_run(str(CONFIGS / f"tood_R_50_FPN_1x.{kind}"))
    found = read_metadata(run, run.build_model(), has_nms=True)
    assert found.class_names[:2] == ["person", "bicycle"] and len(found.class_names) == 80
    assert found.category_ids[:13] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14]  # there is no 12
    assert (found.input_format, found.size_divisibility) == ("RGB", 32)
    assert (found.short_edge_length, found.max_size) == (800, 1333)
    assert (found.score_thresh, found.nms_thresh, found.max_detections) == (0.05, 0.6, 100)


def test_images_prepared_in_other_ways_are_refused():
    run = load_run(str(CONFIGS / "tood_R_18_FPN_small.py"))
    loader = run.cfg.dataloader
    loader.test.mapper.augmentations.append(loader.train.mapper.augmentations[1])
    with pytest.raises(ValueError, match="by one ResizeShortestEdge"):
        read_metadata(run, run.build_model(), has_nms=True)


@pytest.mark.parametrize("has_nms", [False, True])
def test_soft_nms_is_refused(has_nms):
    run = load_run(str(CONFIGS / "tood_R_18_FPN_small.py"), ["model.test_nms_type=soft_linear"])
    with pytest.raises(ValueError, match=r"ONNX has no Soft-NMS .*model.test_nms_type=hard"):
        read_metadata(run, run.build_model(), has_nms)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("model.pb", "model.pb: should end in .onnx, .xml or .pt2"),
        ("model.onnx", "no trained weights"),
        ("model.xml", "no trained weights"),
    ],
)
def test_other_files_and_untrained_models_are_refused(export, tmp_path, output, message):
    config = CONFIGS / "tood_R_18_FPN_small.py"
    outcome = export("--config-file", config, "--output", output)
    assert outcome.status == 2 and message in outcome.messages[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options", [["--half"], ["--half", "--int8", 2], ["--int8", 0], ["--max-drop", "x"]], ids=str
)
def test_options_that_cannot_be_are_refused(export, options):
    output = "model.xml" if "--int8" in options else "model.onnx"
    config = CONFIGS / "tood_R_18_FPN_small.py"
    outcome = export("--config-file", config, "--output", output, *options)
    assert outcome.status == 2 and options[0] in outcome.messages[-1]


@pytest.fixture
def own_labels(detecting_model, shapes, tmp_path_factory):
    """JSON whose objects are what the model detects best in the validation images."""
    weights = str(detecting_model / "model_final.pth")
    predictor = Predictor(load_run(str(detecting_model / "config.yaml"), weights=weights))
    content = json.loads((shapes / "val.json").read_text())
    found = []
    for image in content["images"]:
        pixels = cv2.imread(str(shapes / "val" / image["file_name"]))
        best = predictor(pixels)["instances"][:10]
        names, ids = predictor.class_names, predictor.category_ids
        found += [
            x | {"image_id": image["id"], "iscrowd": 0, "area": x["bbox"][2] * x["bbox"][3]}
            for x in coco_results(best, image["file_name"], names, ids)
        ]
    content["annotations"] = [x | {"id": i} for i, x in enumerate(found, start=1)]
    path = tmp_path_factory.mktemp("labels") / "val.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.slow
def test_exported_model_agrees_and_has_the_same_ap(
    export, detecting_model, own_labels, shapes, tmp_path
):
    arguments = ["--config-file", detecting_model / "config.yaml", "--output", "new/model.onnx"]
    arguments += ["--evaluate", "--int8", 2, "--opts", f"train.output_dir={tmp_path}"]
    arguments += [f"train.init_checkpoint={detecting_model}/model_final.pth"]
    outcome = export(*arguments, f"dataset.test_json={own_labels}")
    assert outcome.status == 0, outcome.output
    assert "agrees with PyTorch" in outcome.output and "NMS: as PyTorch does it" in outcome.output
    aps = {x.split()[0]: x.split()[1] for x in outcome.output.splitlines() if len(x.split()) == 2}
    assert aps["new/model.onnx"] == aps["PyTorch"] and float(aps["PyTorch"]) > 50
    output = tmp_path / "new" / "model.onnx"
    assert ONNXDetector(str(output)).metadata.has_nms
    small = output.with_suffix(".int8.onnx")
    assert small.stat().st_size < 0.4 * output.stat().st_size


@pytest.mark.slow
def test_int8_keeps_the_ap_of_openvino(export, detecting_model, own_labels, tmp_path):
    pytest.importorskip("nncf")
    arguments = ["--config-file", detecting_model / "config.yaml", "--output", "model.xml"]
    arguments += ["--evaluate", "--int8", 2, "--max-drop", 1, "--opts"]
    arguments += [f"train.output_dir={tmp_path}", f"dataset.test_json={own_labels}"]
    arguments += [f"train.init_checkpoint={detecting_model}/model_final.pth"]
    outcome = export(*arguments)
    assert outcome.status == 0, outcome.output
    assert "agrees with PyTorch" in outcome.output and "NMS: as PyTorch does it" in outcome.output
    aps = {x.split()[0]: x.split()[1] for x in outcome.output.splitlines() if len(x.split()) == 2}
    assert aps["model.xml"] == aps["PyTorch"] and float(aps["PyTorch"]) > 50
    assert float(aps["model.int8.xml"]) >= float(aps["PyTorch"]) - 1
    sizes = [(tmp_path / x).stat().st_size for x in ("model.bin", "model.int8.bin")]
    assert sizes[1] < 0.4 * sizes[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_models_of_the_zoo_agree(export, name):
    config = CONFIGS / f"{name}.py"
    outcome = export("--untrained", "--config-file", config, "--output", "model.onnx")
    assert outcome.status == 0 and "agrees with PyTorch" in outcome.output
