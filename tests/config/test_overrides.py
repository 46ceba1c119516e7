"""Overrides of configs on the command line."""

import os
from pathlib import Path

import pytest

from detectron2.config import LazyConfig
from tood_d2.config import load_run
from tood_d2.config.calls import create_lazy_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
LAZY = str(CONFIGS / "tood_R_18_FPN_small.py")
YAML = str(CONFIGS / "tood_R_50_FPN_1x.yaml")

AS_THEY_STAND = (
    "épreuves/train 干净",
    "/data/set=v1/[old], (1) {x} #3; a",
    "a,b",
    "it's",
    "\\\\server\\data\\",
    "${HOME}/${oc.env:HOME}\\${x}",
    "$HOME",
    " blanks ",
    "2024",
    "1e5",
    "0x10",
    "1:30",
    "true",
    "!tag",
    "*",
    "",
)


def overridden(option: str, value: str) -> list:
    """The option's value in both kinds of config, after each form of an override."""
    keys = {
        "train_json": ("dataset.train_json", "DATASETS.TRAIN_JSON"),
        "output_dir": ("train.output_dir", "OUTPUT_DIR"),
        "init_checkpoint": ("train.init_checkpoint", "MODEL.WEIGHTS"),
        "class_names": ("dataset.class_names", "DATASETS.CLASS_NAMES"),
    }
    lazy, yaml = keys[option]
    runs = load_run(LAZY, [f"{lazy}={value}"]), load_run(YAML, [f"{yaml}={value}"])
    return [getattr(x.options, option) for x in (*runs, load_run(YAML, [yaml, value]))]


@pytest.mark.parametrize("path", AS_THEY_STAND)
def test_paths_are_taken_as_they_stand(path):
    assert overridden("output_dir", path) == [path] * 3


@pytest.mark.parametrize("option", ["train_json", "init_checkpoint"])
def test_paths_that_the_shell_left_to_the_program(option, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert overridden(option, "~/data.json") == ["/home/me/data.json"] * 3
    assert overridden(option, "'a b'") == ["a b"] * 3
    assert overridden(option, '"a b"') == ["a b"] * 3
    assert overridden(option, "null") == overridden(option, "None") == [""] * 3
    assert overridden("output_dir", "null") == ["null"] * 3  # never empty, so it is a name
    for name in ("'a b'", "null", "~"):
        Path(name).touch()
        assert overridden(option, name) == [name] * 3


@pytest.mark.parametrize(
    "text, names",
    [
        ("[no,yes,010,1e5,null,épée]", ["no", "yes", "010", "1e5", "null", "épée"]),
        ("['a, b', c]", ["a, b", "c"]),
        ("('cat',)", ["cat"]),
        ("it's,#1, a: b ", ["it's", "#1", "a: b"]),
        ("[]", []),
    ],
)
def test_class_names_are_text(text, names):
    assert overridden("class_names", text) == [names] * 3


def test_other_text_of_a_config():
    def norm(text):
        return load_run(LAZY, [f"model.backbone.bottom_up.norm={text}"]).cfg.model.backbone

    assert norm("2024").bottom_up.norm == "2024"
    assert norm("null").bottom_up.norm is None
    names = load_run(LAZY, ["dataset.test=[a,b]"]).test_names
    assert names == ["a", "b"]
    cfg = load_run(YAML, ["MODEL.RESNETS.NORM", "2024"]).cfg
    assert cfg.MODEL.RESNETS.NORM == "2024"


def test_a_path_that_looks_like_a_reference_comes_back_from_the_dump(tmp_path):
    path = "${oc.env:HOME}/${train.device}"
    run = load_run(LAZY, [f"train.output_dir={path}"])
    LazyConfig.save(run.cfg, str(tmp_path / "config.yaml"))
    assert load_run(str(tmp_path / "config.yaml")).options.output_dir == path
    content = {"model": {"x": "\\\\${oc.env:HOME}"}, "train": {"device": "cpu"}}
    with pytest.raises(ValueError, match="model.x"):  # the backslash is escaped, not the reference
        create_lazy_config(content, "config.yaml", ())


def test_values_of_other_kinds_keep_their_grammar():
    run = load_run(
        LAZY,
        [
            "train.max_iter=${train.eval_period}",
            "dataloader.train.mapper.augmentations[0].short_edge_length=[96,128]",
            "+model.backbone.bottom_up.stride_in_1x1=True",
            "optimizer.lr=1e-4",
            "train.epochs=null",
        ],
    )
    assert run.options.max_iter == 450 and run.options.lr == 1e-4
    assert run.cfg.dataloader.train.mapper.augmentations[0].short_edge_length == [96, 128]
    assert run.cfg.model.backbone.bottom_up.stride_in_1x1 is True
    assert "model.backbone.bottom_up.stride_in_1x1" in run.overridden
    run = load_run(YAML, ["OUTPUT_DIR=a=b", "SOLVER.BASE_LR", "1", "SOLVER.STEPS", "[3,4]"])
    assert (run.options.output_dir, run.options.lr, run.options.steps) == ("a=b", 1.0, (3, 4))
    assert set(run.overridden) == {"OUTPUT_DIR", "SOLVER.BASE_LR", "SOLVER.STEPS"}


@pytest.mark.parametrize(
    "path, overrides, message",
    [
        (LAZY, ["train.max_iter=abc"], "train.max_iter should be a number, not 'abc'"),
        (LAZY, ["train.max_iter="], "train.max_iter should be a number, not ''"),
        (LAZY, ["train.max_iter=1,2"], r"train.max_iter=1,2: should be one value.* \[1,2\]"),
        (LAZY, ["train.max_iter=é"], "train.max_iter=é: .* write 'train.max_iter=\"é\"'"),
        (LAZY, ["train.max_iter=nan"], "train.max_iter should be finite"),
        (LAZY, ["train.max_iter=null"], "train.max_iter should be like 90000"),
        (LAZY, ["train.max_iter=${nowhere}"], "train.max_iter.*nowhere"),
        (LAZY, ["=5"], "'=5' should have the form key=value"),
        (LAZY, ["train..max_iter=1"], "'train..max_iter=1' should have the form key=value"),
        (LAZY, ["train.max_iter = 3"], "'train.max_iter = 3' should have the form key=value"),
        (LAZY, ["train=5"], "train is a group of keys"),
        (LAZY, ["model.head.align_cls=maybe"], "align_cls should be True or False"),
        (LAZY, ["model.pixel_mean=abc"], "model.pixel_mean should be numbers"),
        (LAZY, ["optimizer.weight_decay=1/2"], "optimizer.weight_decay should be a number"),
        (LAZY, ["dataloader.train.mapper.augmentations.9.x=1"], "unknown key"),
        (LAZY, ["SOLVER.MAX_ITER=3"], "train.max_iter or SOLVER.MAX_ITER"),
        (LAZY, ["+model.head.num_classes=3"], "follows model.num_classes"),
        (YAML, ["train.max_iter=3"], "train.max_iter or SOLVER.MAX_ITER"),
        (YAML, ["SOLVER.MAX_ITER", "abc"], "SOLVER.MAX_ITER should be a number, not 'abc'"),
        (YAML, ["SOLVER.MAX_ITER", "{[]: 1}"], r"SOLVER.MAX_ITER should be as .*\{\[\]: 1\}"),
        (YAML, ["SOLVER.MAX_ITER", "None"], "SOLVER.MAX_ITER should be like 90000"),
        (YAML, ["SOLVER.MAX_ITER", "1", "SEED"], "'SEED' should have the form KEY value"),
        (YAML, ["SOLVER.MAX_ITR", "1"], "unknown key 'SOLVER.MAX_ITR', did you mean MAX_ITER"),
        (YAML, ["SOLVER.STEPS", "100"], r"SOLVER.STEPS should be as \(58640, 80630\)"),
        (YAML, ["SOLVER.BASE_LR", "1e400"], "SOLVER.BASE_LR should be finite"),
        (YAML, ["SOLVER", "3"], "SOLVER is a group of keys"),
    ],
)
def test_wrong_overrides_are_answered_by_name(path, overrides, message):
    with pytest.raises(ValueError, match=message):
        load_run(path, overrides)


def test_a_file_is_found_by_any_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("2024")
    assert overridden("train_json", "2024") == ["2024"] * 3
