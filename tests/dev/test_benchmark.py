"""benchmark.py on tiny images: what it measures, prints, writes and returns."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from tood_d2.modeling import TOOD

ROOT = Path(__file__).resolve().parents[2]
TOOD_CONFIG = f"{ROOT}/configs/tood_R_18_FPN_small.py"
YAML_CONFIG = f"{ROOT}/configs/tood_R_50_FPN_1x.yaml"
DEPTH = "MODEL.RESNETS.DEPTH=18 MODEL.RESNETS.RES2_OUT_CHANNELS=64"
QUICK = ["--device", "cpu", "--rounds", "2"]


@pytest.fixture
def run(load_script, monkeypatch, capsys):
    """Runs the tool: exit status, standard output, standard error."""
    tool = load_script("dev/benchmark.py")
    # These take longer than all else here.
    monkeypatch.setattr("gc.collect", lambda: 0)
    monkeypatch.setattr("benchmarking.workloads.count_flops", lambda model, *size: {"": sum(size)})

    def _run(*argv):
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *map(str, argv)])
        try:
            status = tool.main()
        except SystemExit as stop:  # by argparse, or on errors
            status = stop.code
        return status, *capsys.readouterr()

    return _run


@pytest.fixture
def report(run, tmp_path):
    """Runs the tool, which must succeed: its JSON file and the head and rows of its table."""

    def _report(*argv):
        status, output, errors = run(*argv, *QUICK, "--json", tmp_path / "report.json")
        assert status == 0, errors
        head, _, *rows = [line for line in output.splitlines() if line.startswith("|")]
        report = json.loads((tmp_path / "report.json").read_text())
        assert report["command"] == argv[0] and report["failures"] == []
        assert len(rows) == len(report["results"])
        for x in report["results"]:
            assert len(x["seconds"]) == 2
            assert 0 < x["min"] <= x["median"] <= x["max"] < math.inf
            assert x["memory"] is None or x["memory"] >= 0
        assert report["machine"]["instruction set"] in output
        return report["results"], [x.strip() for x in head.strip("|").split("|")]

    return _report


def test_inference_at_two_sizes(report, tmp_path):
    contenders = [TOOD_CONFIG, f"{TOOD_CONFIG} model.head.num_convs=1"]
    sizes = ["--sizes", "32x32", "32x64"]
    results, head = report("inference", *contenders, *sizes, "--plot", tmp_path / "plot.png")
    assert [(x["contender"], x["size"]) for x in results] == [
        (config, size) for size in ([32, 32], [32, 64]) for config in contenders
    ]
    assert [x["ratio"] == 1 for x in results] == [True, False, True, False]
    assert [x["flops"] for x in results] == [64, 64, 96, 96]
    assert head[:3] == ["contender", "size", "batch"]
    assert {"ratio", "GFLOPs", "GFLOP/s"} < set(head)
    assert Image.open(tmp_path / "plot.png").height > 300


def test_training(report):
    contender = f"{TOOD_CONFIG} model.head.num_convs=1"
    sweep = ["--sizes", "32x32", "--batches", 2, "--objects", 3]
    results, head = report("training", contender, *sweep)
    assert [(x["batch"], x["objects"]) for x in results] == [(2, 3)]
    assert "objects" in head and "GFLOPs" not in head


def test_assignment_of_a_yaml_config(report):
    sweep = ["--sizes", "64x64", "--objects", 1, 5]
    results, _ = report("assignment", f"{YAML_CONFIG} {DEPTH}", *sweep)
    assert [x["objects"] for x in results] == [1, 5]


def test_postprocessing_of_detectron2s_model_twice(report):
    contender = f"COCO-Detection/retinanet_R_50_FPN_1x.yaml {DEPTH}"
    results, _ = report("postprocessing", contender, contender, "--sizes", "64x64")
    assert [x["contender"] for x in results] == [contender, f"{contender} (2)"]


def test_others_go_on_if_one_fails(run, monkeypatch, tmp_path):
    original = TOOD.forward

    def forward(self, batch):
        if self.num_classes == 3:
            raise RuntimeError("out of memory\nand more")
        return original(self, batch)

    monkeypatch.setattr(TOOD, "forward", forward)
    contenders = [f"{TOOD_CONFIG} model.num_classes=3", TOOD_CONFIG]
    json_file = tmp_path / "report.json"
    argv = [*contenders, "--sizes", "32x32", *QUICK, "--json", json_file]
    status, output, errors = run("inference", *argv)
    assert status == 1
    assert (
        f"{contenders[0]} failed at size 32x32, batch 1: RuntimeError: out of memory and more"
        in errors
    )
    assert output.count(TOOD_CONFIG) == 1
    report = json.loads(json_file.read_text())
    assert [x["ratio"] for x in report["results"]] == [None]
    assert report["failures"][0]["contender"] == contenders[0]


class TestBadInput:
    @pytest.fixture
    def fails(self, run, monkeypatch):
        """Runs the tool, which must fail before it measures, with a line that has this text."""
        monkeypatch.setattr(
            "benchmarking.measuring.Call.time", lambda *args: pytest.fail("measured")
        )

        def _fails(text, *argv):
            status, output, errors = run(*argv)
            assert (status, output) == (2, "")
            assert text in errors.splitlines()[-1]

        return _fails

    def test_config(self, fails, tmp_path):
        fails("'nowhere.py'", "inference", "nowhere.py")
        fails("COCO-Detection/x.py: no such config", "inference", "COCO-Detection/x.py")
        fails("unrecognized arguments: --foo", "inference", f"{TOOD_CONFIG} --foo")
        fails("No closing quotation", "inference", f"{TOOD_CONFIG} 'model.x=1")
        (tmp_path / "broken.py").write_text("model = (\n")
        fails("broken.py", "inference", tmp_path / "broken.py")

    def test_no_model_zoo(self, fails, monkeypatch):
        monkeypatch.setitem(sys.modules, "detectron2.model_zoo", None)
        fails("detectron2.model_zoo", "inference", "COCO-Detection/retinanet_R_50_FPN_1x.py")

    def test_overrides(self, fails):
        fails("model.foo", "inference", f"{TOOD_CONFIG} model.foo.bar=1")
        fails("override 'MODEL.X' should have the form", "inference", f"{YAML_CONFIG} MODEL.X")
        fails("MODEL.FOO", "inference", f"{YAML_CONFIG} MODEL.FOO=1")

    @pytest.mark.parametrize("size", ["800x", "800", "8x8", "axb", "64x64x3", "-64x64"])
    def test_size(self, fails, size):
        fails("HEIGHTxWIDTH", "inference", TOOD_CONFIG, f"--sizes={size}")

    @pytest.mark.parametrize("option", ["--rounds", "--batches", "--threads"])
    @pytest.mark.parametrize("value", ["0", "-1", "x"])
    def test_counts(self, fails, option, value):
        fails("an integer from 1 on", "inference", TOOD_CONFIG, f"{option}={value}")

    def test_options_of_other_benchmarks(self, fails):
        fails("--objects is not for inference", "inference", TOOD_CONFIG, "--objects", 3)
        fails("--batches is not for assignment", "assignment", TOOD_CONFIG, "--batches", 3)
        fails("invalid choice: 'speed'", "speed", TOOD_CONFIG)

    def test_types(self, fails):
        fails("'bf16'", "inference", f"{TOOD_CONFIG} --dtype bf16")
        fails("goes with --optimize", "inference", f"{TOOD_CONFIG} --compile")

    @pytest.mark.parametrize("device", ["foo", "tpu", "cuda:99"])
    def test_device(self, fails, device):
        fails(f"'{device}' cannot be used", "inference", TOOD_CONFIG, "--device", device)

    def test_model_that_is_not_dense(self, fails):
        config = f"COCO-Detection/rpn_R_50_FPN_1x.yaml {DEPTH}"
        fails("ProposalNetwork is not a DenseDetector", "postprocessing", config)

    def test_outputs(self, fails, tmp_path):
        path = tmp_path / "a" / "b"
        fails(f"the folder of '{path}' does not exist", "inference", TOOD_CONFIG, "--json", path)
        fails(f"the folder of '{path}' does not exist", "inference", TOOD_CONFIG, "--plot", path)


def test_number_of_threads(run, monkeypatch):
    monkeypatch.setattr(
        TOOD, "forward", lambda self, batch: threads.append(torch.get_num_threads())
    )
    threads, before = [], torch.get_num_threads()
    try:
        run("inference", TOOD_CONFIG, "--sizes", "32x32", *QUICK, "--threads", before + 1)
    finally:
        torch.set_num_threads(before)
    assert set(threads) == {before + 1}
