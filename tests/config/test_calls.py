"""YAML configs of both kinds, good and hostile ones."""

import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from detectron2 import model_zoo
from detectron2.config import LazyConfig, get_cfg
from tood_d2 import add_tood_config
from tood_d2.config import as_run, load_config, load_run, note_dump

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
# The other ablations call what these call.
LAZY = sorted(str(x) for x in [*CONFIGS.glob("*.py"), *CONFIGS.glob("ablations/*_small.py")])
ZOO = ["COCO-Detection/retinanet_R_50_FPN_1x", "COCO-Detection/fcos_R_50_FPN_1x"]


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "config.yaml"


@pytest.mark.parametrize(
    "config", [*LAZY, *(model_zoo.get_config_file(f"{name}.py") for name in ZOO)]
)
def test_dumped_lazy_configs(path, config):
    LazyConfig.save(LazyConfig.load(config), str(path))
    expected = LazyConfig.load(str(path))
    loaded = load_config(str(path))
    loaded.train.device = expected.train.device
    assert OmegaConf.to_container(loaded) == OmegaConf.to_container(expected)


@pytest.mark.parametrize(
    "config",
    [*map(str, sorted(CONFIGS.glob("*.yaml"))), model_zoo.get_config_file(f"{ZOO[0]}.yaml")],
)
def test_cfg_nodes(config):
    expected = get_cfg()
    add_tood_config(expected)
    expected.merge_from_file(config)
    loaded = load_config(config)
    loaded.MODEL.DEVICE = expected.MODEL.DEVICE
    assert loaded == expected


def refused(path, text, message):
    path.write_text(text)
    before = sorted(path.parent.iterdir())
    with pytest.raises(ValueError, match=message):
        load_config(str(path))
    assert sorted(path.parent.iterdir()) == before


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.run",
        "tood_d2.config.shipped.os.system",
        "tood_d2.config.load_config",
        "tood_d2.inference.Predictor",
        "detectron2.config.LazyConfig.load",
        "detectron2.config.instantiate",
        "detectron2.data.build.load_proposals_into_dataset",
        "detectron2.modeling.MMDetDetector",
        "detectron2.utils.registry.locate",
        "detectron2.evaluation.evaluator.DatasetEvaluator.__init__.__globals__",
        "torch.hub.load",
        "torch.load",
        "torch.nn.Module.load_state_dict",
        "torch.nn.modules.module.torch.load",
        "torch.utils.data.dataloader.os.system",
        "torch.optim._functional.sgd",
        "fvcore.common.param_scheduler.math.sin",
        "tood_d2",
        "",
        "tood_d2.TOOD;os.system",
        "${x}",
        3,
        None,
        ["os.system"],
    ],
)
def test_targets(path, target):
    model = {"model": {"head": [{"_target_": target, "command": "touch marker"}]}, "train": {}}
    OmegaConf.save(OmegaConf.create({**model, "x": "os.system"}), path)
    refused(path, path.read_text(), rf"{path.name}: model\.head\.0 calls .*write it as a \.py")


def test_targets_of_targets(path):
    text = "model: {_target_: {_target_: torch.nn.ReLU}}"
    refused(path, text, "model calls .*torch.nn.ReLU.* program")


def test_missing_targets(path):
    refused(path, "model: {_target_: tood_d2.modeling.NoSuchHead}", "model calls .*NoSuchHead")
    refused(path, "model: {_target_: tood_d2.nowhere.Head}", "model calls .*nowhere.Head")


@pytest.mark.parametrize(
    "value",
    [
        "${oc.create:'{_target_: os.system}'}",
        "${oc.env:HOME}",
        "${oc.decode:${x}}",
        "${x}${x}",
        "${a.${x}}",
        "${oc.create:{_target_: os.system, command: touch marker}}",
    ],
)
def test_references_that_call(path, value):
    OmegaConf.save(OmegaConf.create({"model": {}, "x": "x", "y": {"z": ""}}), path)
    text = path.read_text().replace("z: ''", f"z: {value!r}")
    refused(path, text, r"y\.z is .*for safety")


@pytest.mark.parametrize(
    "arguments", ["cfg: {MODEL: {LOAD_PROPOSALS: true}}", "proposal_files: [evil.pkl]"]
)
def test_arguments_that_unpickle(path, arguments):
    target = "detectron2.data.get_detection_dataset_dicts"
    refused(path, f"model: {{_target_: {target}, {arguments}}}", "model has the argument")


def test_references_that_multiply(path):
    lines = ["model: {}", "a0: [1]"]
    lines += [f"a{i}: ['${{a{i - 1}}}', '${{a{i - 1}}}']" for i in range(1, 40)]
    refused(path, "\n".join(lines), "more values than any config, by its references")
    circle = "model: {}\na: ['${b}']\nb: ['${a}']"
    refused(path, circle, "more values than any config, by its references")


def test_no_device(path):
    refused(path, "model: {}", "has no train.device")
    refused(path, "model: {}\ntrain: {device: '${nowhere}'}", "is no LazyConfig")


def test_references(path):
    path.write_text("model: {a: 3, b: '${.a}', c: '${train.device}/x'}\ntrain: {device: cpu}")
    cfg = load_config(str(path))
    assert (cfg.model.b, cfg.model.c) == (3, "cpu/x")


class TestCfgNode:
    def test_bases(self, path):
        path.with_name("a.yaml").write_text("SEED: 1\nSOLVER: {MAX_ITER: 1, BASE_LR: 0.5}")
        path.with_name("b.yaml").write_text("SOLVER: {MAX_ITER: 2}")
        path.write_text("_BASE_: [a.yaml, b.yaml]\nSOLVER: {GAMMA: 0.3}")
        cfg = load_config(str(path))
        solver = cfg.SOLVER
        assert (cfg.SEED, solver.MAX_ITER, solver.BASE_LR, solver.GAMMA) == (1, 2, 0.5, 0.3)

    def test_a_hostile_base(self, path):
        path.with_name("a.yaml").write_text("SEED: !!python/object/apply:os.getpid []")
        refused(path, "_BASE_: a.yaml", r"a\.yaml, line 1: no plain YAML")

    def test_a_base_of_itself(self, path):
        refused(path, "_BASE_: config.yaml\nSEED: 3", "has itself for a base")

    def test_no_base(self, path):
        path.write_text("_BASE_: nowhere.yaml")
        with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
            load_config(str(path))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("SEEDS: 3", "SEEDS"),
            ("SEED: text", "SEED"),
            ("SOLVER: 3", "SOLVER"),
            ("_BASE_: 3", "int"),
            ("SEED: '" + "-" * 100_000 + "1'", "config.yaml"),
            ("MODEL: {LOAD_PROPOSALS: true}", "unpickles files"),
        ],
    )
    def test_refused(self, path, text, message):
        refused(path, text, message)


class TestTrust:
    """Configs that call classes of the user's own package."""

    @pytest.fixture
    def package(self, tmp_path, monkeypatch):
        """A package "mine_<n>" that notes when it is imported."""
        name = f"mine_{abs(hash(tmp_path.name))}"
        text = "from torch import nn\n\n\nclass Head(nn.ReLU):\n    pass\n"
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
        yield name
        sys.modules.pop(name, None)

    def write(self, path, package):
        path.write_text(f"model: {{_target_: {package}.Head}}\ntrain: {{device: cpu}}")

    def test_refused_without_trust_and_not_imported(self, path, package):
        self.write(path, package)
        with pytest.raises(ValueError, match=f"model calls '{package}.Head'.*--trust {package}"):
            load_config(str(path))
        assert package not in sys.modules

    def test_trusted_by_the_user(self, path, package):
        self.write(path, package)
        run = load_run(str(path), trusted=[package])
        assert type(run.build_model()).__name__ == "Head"

    def test_trust_in_one_package_is_no_trust_in_another(self, path, package):
        path.write_text("model: {_target_: os.system}\ntrain: {device: cpu}")
        with pytest.raises(ValueError, match="model calls 'os.system'"):
            load_config(str(path), trusted=[package])

    def test_a_package_that_cannot_be_imported(self, path):
        self.write(path, "nowhere")
        with pytest.raises(ValueError, match="--trust nowhere: .*No module named 'nowhere'"):
            load_config(str(path), trusted=["nowhere"])

    def test_what_was_written_here_is_trusted_until_it_is_changed(self, path, package, log):
        self.write(path, package)
        run = load_run(str(path), trusted=[package])
        note_dump(run.with_options(output_dir=str(path.parent)))
        assert f"--trust {package}" in log.text
        assert type(load_run(str(path)).build_model()).__name__ == "Head"
        path.write_text(path.read_text() + "\n")
        with pytest.raises(ValueError, match=f"model calls '{package}.Head'"):
            load_config(str(path))

    def test_dumps_that_cannot_be_loaded_again_are_announced(self, path, log):
        path.write_text("model: {_target_: <lambda>}\ntrain: {device: cpu}")
        cfg = OmegaConf.create({"model": {}, "train": {"output_dir": str(path.parent)}})
        note_dump(as_run(cfg))
        assert "cannot be loaded again" in log.text and "Keep the .py config" in log.text


def test_dumps_of_earlier_versions(path):
    path.write_text(
        "model: {_target_: tood_d2.modeling.backbone.build_resnet, depth: 18}\ntrain: {device: cpu}"
    )
    assert load_run(str(path)).build_model().stages
