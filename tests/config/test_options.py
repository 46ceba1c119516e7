import sys
from dataclasses import replace
from pathlib import Path

import pytest
from document_options import describe_options
from omegaconf import OmegaConf

from detectron2.config import get_cfg
from tood_d2.config import Options, add_tood_config, as_run, default_options, load_run
from tood_d2.config.options import all_options, keys_of

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
KINDS = ("py", "yaml")


def options(kind, **values):
    overrides = []
    for name, value in values.items():
        keys = keys_of(name)
        overrides += [f"{keys.lazy}={value}"] if kind == "py" else [keys.yaml, value]
    return load_run(str(CONFIGS / f"tood_R_50_FPN_1x.{kind}"), overrides).options


def test_both_kinds_have_the_same_defaults():
    lazy, yaml = map(options, KINDS)
    # A LazyConfig has these in its learning rate's own form.
    assert replace(yaml, steps=(), warmup_iters=0) == lazy
    # Twelve epochs of 7330 iterations, evaluated after each; ATSS in the first four.
    assert lazy == Options(
        device="cpu",
        init_checkpoint="detectron2://ImageNetPretrained/torchvision/R-50.pkl",
        max_iter=87960,
        checkpoint_period=7330,
        eval_period=7330,
        initial_phase_iters=29320,
        input_format="RGB",
    )


@pytest.mark.parametrize("kind", KINDS)
def test_options_are_read(kind):
    values = {
        "max_iter": 7,
        "gradient_accumulation": 4,
        "amp_enabled": True,
        "amp_dtype": "bfloat16",
        "channels_last": True,
        "compile_head": True,
        "ema_enabled": True,
        "ema_decay": 0.9,
        "early_stopping": 3,
        "num_pictures": 2,
    }
    result = options(kind, **values)
    assert {name: getattr(result, name) for name in values} == values


def test_a_config_that_knows_none_of_the_options():
    cfg = OmegaConf.create({"train": {"output_dir": "here", "max_iter": 7}})
    assert as_run(cfg).options == Options(output_dir="here", max_iter=7)


def test_each_option_has_keys_of_its_own():
    keys = [key for _, keys, _ in all_options() for key in keys if key]
    assert len(set(keys)) == len(keys)


def test_the_document_describes_each_option():
    """Written by dev/document_options.py."""
    assert (CONFIGS.parent / "docs" / "options.md").read_text() == describe_options()


def test_yaml_configs_know_every_option():
    cfg = get_cfg()
    add_tood_config(cfg)
    run = as_run(cfg)
    assert all(
        run.get(keys.yaml) is not None or default is None
        for _, keys, default in all_options()
        if keys.yaml
    )


def test_default_options_of_a_group():
    dataset = default_options("dataset")
    assert dataset.pop("class_names") == dataset.pop("category_ids") == []
    files = {"train_json", "train_images", "test_json", "test_images"}
    assert set(dataset) == {"source", "min_object_size", *files}
    assert default_options("train")["amp"] == {"enabled": False, "dtype": "float16"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_with_other_options_leaves_the_first_alone(kind):
    run = load_run(str(CONFIGS / f"tood_R_50_FPN_1x.{kind}"))
    other = run.with_options(max_iter=3, lr=0.5)
    assert (other.options.max_iter, other.options.lr) == (3, 0.5)
    assert (run.options.max_iter, run.options.lr) == (87960, 0.01)


@pytest.mark.parametrize("column, kind", list(enumerate(KINDS)))
@pytest.mark.parametrize(
    "name, value",
    [
        ("gradient_accumulation", 0),
        ("amp_dtype", "float64"),
        ("ema_decay", 1.0),
        ("ema_decay", -0.1),
        ("max_to_keep", 0),
        ("checkpoint_period", 0),
        ("early_stopping", -1),
        ("num_pictures", -1),
    ],
)
def test_wrong_values_are_named(column, kind, name, value):
    with pytest.raises(ValueError, match=rf"{keys_of(name)[column]}.*not '?{value}"):
        options(kind, **{name: value})


@pytest.mark.parametrize("column, kind", list(enumerate(KINDS)))
def test_early_stopping_needs_the_best_checkpoint(column, kind):
    both = f"{keys_of('early_stopping')[column]}.*{keys_of('best_checkpoint')[column]}"
    with pytest.raises(ValueError, match=both):
        options(kind, early_stopping=3, best_checkpoint=False)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"max_iter": "abc"}, "train.max_iter or SOLVER.MAX_ITER should be of type int, not 'abc'"),
        ({"max_iter": -1}, "train.max_iter or SOLVER.MAX_ITER should be at least 0"),
        ({"ema_enabled": 3}, "train.ema.enabled or SOLVER.EMA.ENABLED should be of type bool"),
        ({"log_period": 0.5}, "train.log_period or SOLVER.LOG_PERIOD should be of type int"),
        ({"epochs": "long"}, "train.epochs or SOLVER.EPOCHS should be of type float or NoneType"),
        ({"max_iter": True}, "of type int, not True"),
    ],
)
def test_types(values, message):
    with pytest.raises(ValueError, match=message):
        Options(**values)


def test_whole_numbers_are_fractions_too():
    assert Options(ema_decay=0).ema_decay == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "package, name", [("wandb", "wandb_project"), ("mlflow", "mlflow_experiment")]
)
def test_a_config_is_read_without_the_trackers_of_its_training(kind, package, name, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    assert getattr(options(kind, **{name: "cells"}), name) == "cells"
