"""benchmark.py on tiny images: what it measures, prints, writes and returns."""

import gc
import json
import math
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch

import tood_d2
from tood_d2.modeling import TOOD, TaskAlignedAssigner

ROOT = Path(__file__).resolve().parents[2]
TOOD_CONFIG = str(ROOT / "configs" / "tood_R_18_FPN_small.py")
RETINANET_CONFIG = str(ROOT / "configs" / "ablations" / "retinanet_R_18_FPN_small.py")
YAML_CONFIG = str(ROOT / "configs" / "tood_R_50_FPN_1x.yaml")
QUICK = ["--device", "cpu", "--rounds", "2", "--warmup", "0", "--matrix-size", "32"]


@pytest.fixture
def tool(load_script, monkeypatch):
    """The tool as a module, which leaves garbage: collecting it takes longer than all else here."""
    monkeypatch.setattr(gc, "collect", lambda: 0)
    return load_script("dev/benchmark.py")


@pytest.fixture
def run(tool, monkeypatch, capsys):
    """Runs the tool: exit status, standard output, standard error."""

    def _run(*argv):
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *map(str, argv)])
        try:
            status = tool.main()
        except SystemExit as stop:  # by argparse
            status = stop.code
        return status, *capsys.readouterr()

    return _run


@pytest.fixture
def report(run, tmp_path):
    """Runs the tool, which must succeed: its JSON file and standard output."""

    def _report(*argv):
        status, output, errors = run(*argv, *QUICK, "--json", tmp_path / "report.json")
        assert status == 0, errors
        report = json.loads((tmp_path / "report.json").read_text())
        assert report["failures"] == []
        assert report["arguments"]["command"] == argv[0]
        check_results(report["results"])
        return report, output

    return _report


def check_results(results):
    """Checks what holds for any results."""
    first = results[0]["contender"]
    for x in results:
        assert len(x["seconds"]) == 2
        assert 0 < x["min"] <= x["median"] <= x["max"] < math.inf
        assert 0 < x["images_per_second"] < math.inf
        assert (x["contender"] == first) <= (x["ratio"] == x["paired_ratio"] == 1)
        assert x["memory"] is None or x["memory"] >= 0


def check_table(output, num_rows, *columns):
    table = [line for line in output.splitlines() if line.startswith("|")]
    assert len(table) == 2 + num_rows
    for column in columns:
        assert f" {column} " in table[0]


class TestInference:
    def test_two_detectors_at_two_sizes(self, report, tmp_path):
        plot = ["--plot", tmp_path / "plot.png"]
        sizes = ["--sizes", "64x64", "64x96"]
        configs = [TOOD_CONFIG, RETINANET_CONFIG]
        results, output = report("inference", *configs, *sizes, *plot)
        machine = results["machine"]
        assert machine["cpu"] and machine["cores"] >= 1 and machine["gpu"] is None
        assert machine["threads"] == torch.get_num_threads()
        assert machine["versions"]["torch"] == torch.__version__
        (rate,) = results["matrix_rates"].values()
        assert 0 < rate < math.inf
        results = results["results"]
        assert [(x["contender"], x["size"]) for x in results] == [
            (config, size) for size in ([64, 64], [64, 96]) for config in configs
        ]
        for x in results:
            assert x["share_of_matrix_rate"] == pytest.approx(x["flops"] / x["median"] / rate)
        # Above all convolutions on all pixels.
        assert results[2]["flops"] > 1.3 * results[0]["flops"]
        check_table(output, 4, "size", "batch", "ratio", "images/s", "GFLOP/s", "of matrix rate")
        assert torch.__version__ in output and machine["cpu"] in output
        picture = cv2.imread(str(tmp_path / "plot.png"))
        assert picture.shape[0] > 300 and picture.std() > 10

    def test_batches_make_more_operations(self, report):
        results, _ = report("inference", TOOD_CONFIG, "--sizes", "32x32", "--batches", 1, 3)
        one, three = results["results"]
        assert (one["batch"], three["batch"]) == (1, 3)
        assert three["flops"] == 3 * one["flops"]
        assert three["images_per_second"] == pytest.approx(3 / three["median"])

    def test_same_config_with_and_without_autocast(self, report):
        contenders = [TOOD_CONFIG, f"{TOOD_CONFIG} --dtype bfloat16", TOOD_CONFIG]
        results, _ = report("inference", *contenders, "--sizes", "32x32")
        assert set(results["matrix_rates"]) == {"torch.float32", "torch.bfloat16"}
        names = [x["contender"] for x in results["results"]]
        assert names == [*contenders[:2], f"{TOOD_CONFIG} (2)"]
        assert len({x["flops"] for x in results["results"]}) == 1

    def test_overrides(self, report):
        opts = ["--opts", "model.head.num_convs=2", "model.num_classes=3"]
        contenders = [TOOD_CONFIG, f"{TOOD_CONFIG} model.head.num_convs=3"]
        results, _ = report("inference", *contenders, "--sizes", "32x32", *opts)
        a, b = results["results"]
        assert a["flops"] < b["flops"]

    def test_yaml_and_model_zoo(self, report):
        depth = "MODEL.RESNETS.DEPTH=18 MODEL.RESNETS.RES2_OUT_CHANNELS=64"
        contenders = [
            f"{YAML_CONFIG} {depth}",
            f"COCO-Detection/retinanet_R_50_FPN_1x.yaml {depth}",
        ]
        results, _ = report("inference", *contenders, "--sizes", "32x32")
        assert [x["contender"] for x in results["results"]] == contenders

    def test_optimization(self, report, monkeypatch):
        calls = []

        def optimize(model, **settings):
            calls.append((type(model), model.training, settings))
            return model

        def forward(self, batch):
            assert not torch.is_autocast_enabled("cpu")  # an optimised model has its own type

        monkeypatch.setattr(tood_d2, "optimize_for_inference", optimize, raising=False)
        contenders = [TOOD_CONFIG, f"{TOOD_CONFIG} --optimize"]
        contenders.append(f"{TOOD_CONFIG} --optimize --compile --dtype bfloat16")
        contenders[2] += " model.num_classes=3"
        monkeypatch.setattr(TOOD, "forward", forward)
        report("inference", *contenders, "--sizes", "32x32")
        assert calls == [
            (TOOD, False, {"dtype": torch.float32, "compile": False}),
            (TOOD, False, {"dtype": torch.bfloat16, "compile": True}),
        ]


class TestTraining:
    def test_steps(self, report):
        contenders = [f"{TOOD_CONFIG} --amp bfloat16", RETINANET_CONFIG]
        sweep = ["--sizes", "64x64", "--batches", 1, "--objects", 2]
        results, output = report("training", *contenders, *sweep)
        tood, retinanet = results["results"]
        assert [x["contender"] for x in (tood, retinanet)] == contenders
        assert tood["objects"] == 2
        check_table(output, 2, "objects", "images/s", "GFLOPs")
        # The backward pass takes two times as much as the forward pass, less the first layer's.
        inference, _ = report("inference", TOOD_CONFIG, "--sizes", "64x64")
        assert 2.5 < tood["flops"] / inference["results"][0]["flops"] < 3

    def test_objects(self, report, monkeypatch):
        seen = []
        original = TOOD.forward_training

        def forward_training(self, images, features, predictions, gt_instances):
            seen.append([len(x) for x in gt_instances])
            assert all((x.gt_classes < 3).all() for x in gt_instances)
            return original(self, images, features, predictions, gt_instances)

        monkeypatch.setattr(TOOD, "forward_training", forward_training)
        sweep = ["--sizes", "32x32", "--batches", 2, "--objects", 1, 9]
        report("training", f"{TOOD_CONFIG} model.num_classes=3 model.head.num_convs=1", *sweep)
        assert seen == [[1, 1]] * 4 + [[9, 9]] * 4

    @pytest.mark.parametrize("options", [[], ["--initial-phase"]])
    def test_phase(self, report, monkeypatch, options):
        phases = []
        original = TOOD.in_initial_phase
        monkeypatch.setattr(
            TOOD, "in_initial_phase", lambda self: phases.append(original(self)) or phases[-1]
        )
        sweep = ["--sizes", "32x32", "--batches", 2, "--objects", 2]
        report("training", f"{TOOD_CONFIG} model.head.num_convs=1", *sweep, *options)
        assert phases and set(phases) == {bool(options)}

    def test_weights_stay_and_no_gradients_are_left(self, tool, monkeypatch):
        models = []
        contender = tool.load_contenders(
            "training",
            tool._parser().parse_args(["training", TOOD_CONFIG]),
            torch.device("cpu"),
        )[0]
        original = type(contender).build_model
        monkeypatch.setattr(
            type(contender),
            "build_model",
            lambda *args: models.append(original(*args)) or models[-1],
        )
        (workload,) = tool.build_workloads(
            "training", [contender], torch.device("cpu"), seed=0
        ).values()
        (model,) = models
        before = {name: x.clone() for name, x in model.named_parameters()}
        call = workload(tool.Point((64, 64), batch=1, objects=2))
        call.run(*call.prepare())
        for name, x in model.named_parameters():
            assert x.equal(before[name]) and x.grad is None


class TestAssignment:
    def test_sweep(self, report, tmp_path):
        contenders = [TOOD_CONFIG, f"{TOOD_CONFIG} model.assigner.conflict=area"]
        sweep = ["--sizes", "64x64", "--objects", 1, 5, "--classes", 4]
        results, output = report("assignment", *contenders, *sweep)
        assert [x["objects"] for x in results["results"]] == [1, 1, 5, 5]
        assert all(x["flops"] is None for x in results["results"])
        check_table(output, 4, "objects", "ratio")
        assert "GFLOPs" not in output

    def test_arguments_of_the_assigner(self, report, monkeypatch):
        seen = []
        original = TaskAlignedAssigner.__call__

        def call(self, *args):
            matched_idxs, alignment = original(self, *args)
            seen.append((*args, matched_idxs))
            return matched_idxs, alignment

        monkeypatch.setattr(TaskAlignedAssigner, "__call__", call)
        report("assignment", TOOD_CONFIG, "--objects", 10)
        pred_scores, pred_boxes, anchors, gt_boxes, gt_classes, matched_idxs = seen[0]
        assert pred_scores.shape == (22400, 80)
        assert len(pred_boxes) == len(anchors) == 22400
        assert len(gt_boxes) == len(gt_classes) == 10
        assert len(matched_idxs.unique()) == 11  # each object is matched, and background
        assert len(seen) == 3 and seen[1][0].equal(pred_scores)

    def test_config_without_anchors(self, report, tmp_path):
        """The assigner of a config with no head: anchors are TOOD's."""
        config = tmp_path / "config.py"
        config.write_text(
            "from detectron2.config import LazyCall as L\n"
            "from tood_d2.modeling import TaskAlignedAssigner\n"
            "model = dict(assigner=L(TaskAlignedAssigner)(topk=5))\n"
            "train = dict(device='cpu')\n"
        )
        report("assignment", config, "--sizes", "64x64", "--objects", 2)


class TestPostprocessing:
    def test_sizes(self, report):
        contenders = [TOOD_CONFIG, RETINANET_CONFIG]
        results, output = report("postprocessing", *contenders, "--sizes", "64x64", "64x128")
        assert [x["size"] for x in results["results"]] == [[64, 64]] * 2 + [[64, 128]] * 2
        check_table(output, 4, "size")

    def test_every_call_has_the_same_predictions(self, report, monkeypatch):
        """Detectron2's detectors change them in place."""
        from detectron2.modeling import RetinaNet

        seen = []
        original = RetinaNet.forward_inference

        def forward_inference(self, images, features, predictions):
            before = predictions[0][0].clone()
            instances = original(self, images, features, predictions)
            seen.append((before, predictions[0][0], len(instances[0])))
            return instances

        monkeypatch.setattr(RetinaNet, "forward_inference", forward_inference)
        report("postprocessing", RETINANET_CONFIG, "--sizes", "64x64")
        assert len(seen) == 3
        assert all(before.equal(seen[0][0]) for before, _, _ in seen)
        assert seen[0][2] > 10


class TestFailures:
    def test_others_go_on(self, run, monkeypatch, tmp_path):
        original = TOOD.forward

        def forward(self, batch):
            if self.num_classes == 3 and batch[0]["image"].shape[2] == 96:
                raise RuntimeError("out of memory\nand more")
            return original(self, batch)

        monkeypatch.setattr(TOOD, "forward", forward)
        contenders = [f"{TOOD_CONFIG} model.num_classes=3", TOOD_CONFIG]
        json_file = tmp_path / "report.json"
        sizes = ["--sizes", "64x64", "64x96"]
        status, output, errors = run("inference", *contenders, *sizes, *QUICK, "--json", json_file)
        assert status == 1
        assert errors.strip() == (
            f"{contenders[0]} failed at size 64x96, batch 1: RuntimeError: out of memory"
        )
        check_table(output, 3)
        report = json.loads(json_file.read_text())
        assert [x["ratio"] is None for x in report["results"]] == [False, False, True]
        (failure,) = report["failures"]
        assert failure["contender"] == contenders[0] and failure["size"] == [64, 96]

    def test_all_fail(self, run, monkeypatch, tmp_path):
        monkeypatch.setattr(TOOD, "forward", lambda self, batch: 1 / 0)
        plot = tmp_path / "plot.png"
        status, output, errors = run("inference", TOOD_CONFIG, *QUICK, "--plot", plot)
        assert status == 1
        assert "ZeroDivisionError" in errors and "|" not in output
        assert not plot.exists()


class TestBadInput:
    @pytest.fixture
    def fails(self, run, tool, monkeypatch):
        """Runs the tool, which must fail before it measures, with a line that has this text."""
        monkeypatch.setattr(tool, "matrix_rate", lambda *args: pytest.fail("measured"))

        def _fails(text, *argv):
            status, output, errors = run(*argv)
            assert (status, output) == (2, "")
            assert text in errors.splitlines()[-1]
            assert errors.count("benchmark.py") == 1 or "usage: benchmark.py" in errors

        return _fails

    def test_config(self, fails, tmp_path):
        fails("'nowhere.py': no such config file", "inference", "nowhere.py")
        fails("unrecognized arguments: --foo", "inference", f"{TOOD_CONFIG} --foo")
        fails("No closing quotation", "inference", f"{TOOD_CONFIG} 'model.x=1")
        (tmp_path / "broken.py").write_text("model = (\n")
        fails("broken.py", "inference", tmp_path / "broken.py")

    def test_no_model_zoo(self, fails, monkeypatch):
        import detectron2

        monkeypatch.delattr(detectron2, "model_zoo", raising=False)
        monkeypatch.setitem(sys.modules, "detectron2.model_zoo", None)
        fails("cannot be imported", "inference", "COCO-Detection/retinanet_R_50_FPN_1x.py")

    def test_overrides(self, fails):
        fails("model.heat", "inference", TOOD_CONFIG, "--opts", "model.heat.x=1")
        fails("form key=value", "inference", f"{TOOD_CONFIG} model.x")
        fails("form key=value", "inference", f"{YAML_CONFIG} MODEL.X")
        fails("MODEL.FOO", "inference", f"{YAML_CONFIG} MODEL.FOO=1")
        fails("KeyError: 17", "training", f"{TOOD_CONFIG} model.backbone.bottom_up.depth=17")

    @pytest.mark.parametrize("size", ["800x", "800", "8x8", "axb", "64x64x3", "-64x64"])
    def test_size(self, fails, size):
        fails("HEIGHTxWIDTH", "inference", TOOD_CONFIG, f"--sizes={size}")

    @pytest.mark.parametrize("option", ["--rounds", "--batches", "--threads"])
    @pytest.mark.parametrize("value", ["0", "-1", "x"])
    def test_counts(self, fails, option, value):
        fails("an integer from 1 on", "inference", TOOD_CONFIG, f"{option}={value}")

    def test_types(self, fails):
        fails("'bf16'", "inference", TOOD_CONFIG, "--dtype", "bf16")
        fails("'bf16'", "inference", f"{TOOD_CONFIG} --dtype bf16")
        fails("'float32'", "training", TOOD_CONFIG, "--amp", "float32")
        fails("goes with --optimize", "inference", TOOD_CONFIG, "--compile")

    def test_device(self, fails, monkeypatch):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        fails("no such GPU", "inference", TOOD_CONFIG, "--device", "cuda")
        fails("--device should be cpu or cuda", "inference", TOOD_CONFIG, "--device", "meta")
        fails("--device foo", "inference", TOOD_CONFIG, "--device", "foo")

    def test_assigner(self, fails):
        fails("has no model.assigner", "assignment", TOOD_CONFIG, RETINANET_CONFIG)
        fails("has no model.assigner", "assignment", YAML_CONFIG)

    def test_model_that_is_not_dense(self, fails):
        config = "COCO-Detection/rpn_R_50_FPN_1x.yaml"
        fails("ProposalNetwork is not a DenseDetector", "postprocessing", config)

    def test_outputs(self, fails, tmp_path):
        fails("folder does not exist", "inference", TOOD_CONFIG, "--json", tmp_path / "a" / "b")
        fails("should end in .png", "inference", TOOD_CONFIG, "--plot", tmp_path / "plot.x")

    def test_commands(self, fails):
        fails("COMMAND", *[])
        fails("invalid choice: 'speed'", "speed", TOOD_CONFIG)


def test_as_a_command(tmp_path):
    command = [sys.executable, ROOT / "dev" / "benchmark.py", "inference", "nowhere.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 2
    assert "nowhere.py" in result.stderr and "Traceback" not in result.stderr
