import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tood_d2.config import load_config
from tood_d2.config.options import KEYS, TrainingOptions

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
KINDS = ("py", "yaml")


def options(kind, **values):
    overrides = []
    for name, value in values.items():
        lazy_key, yaml_key = KEYS[name]
        overrides += [f"{lazy_key}={value}"] if kind == "py" else [yaml_key, value]
    return TrainingOptions.from_config(
        load_config(str(CONFIGS / f"tood_R_50_FPN_1x.{kind}"), overrides)
    )


def test_both_kinds_have_the_same_defaults():
    lazy, yaml = map(options, KINDS)
    assert lazy == yaml
    # Twelve epochs of 7330 iterations, evaluated after each.
    assert lazy == TrainingOptions(
        output_dir="./output", max_iter=87960, checkpoint_period=7330, eval_period=7330
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
    assert TrainingOptions.from_config(cfg) == TrainingOptions(output_dir="here", max_iter=7)


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
    with pytest.raises(ValueError, match=rf"{KEYS[name][column]}.*not '?{value}"):
        options(kind, **{name: value})


@pytest.mark.parametrize("column, kind", list(enumerate(KINDS)))
def test_early_stopping_needs_the_best_checkpoint(column, kind):
    both = f"{KEYS['early_stopping'][column]}.*{KEYS['best_checkpoint'][column]}"
    with pytest.raises(ValueError, match=both):
        options(kind, early_stopping=3, best_checkpoint=False)


@pytest.mark.parametrize("column, kind", list(enumerate(KINDS)))
def test_weights_and_biases_has_to_be_installed(column, kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=rf"{KEYS['wandb_project'][column]}.*pip install wandb"):
        options(kind, wandb_project="cells")


@pytest.mark.parametrize(
    "values, message",
    [
        ({"max_iter": "abc"}, "train.max_iter or SOLVER.MAX_ITER should be of type int, not 'abc'"),
        ({"max_iter": -1}, "train.max_iter or SOLVER.MAX_ITER should be at least 0"),
        ({"ema_enabled": 3}, "train.ema.enabled or SOLVER.EMA.ENABLED should be of type bool"),
        ({"log_period": 0.5}, "train.log_period should be of type int"),
    ],
)
def test_types(values, message):
    with pytest.raises(ValueError, match=message):
        TrainingOptions(**{"output_dir": "", "max_iter": 1} | values)


def test_whole_numbers_are_fractions_too():
    assert TrainingOptions(output_dir="", max_iter=1, ema_decay=0).ema_decay == 0
