"""Schedules for other batch sizes and lengths, of both kinds of config."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from tood_d2.config import fit_schedule, load_run
from tood_d2.config.yaml_run import YamlRun

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
KINDS = ("py", "yaml")
KEYS = {
    "lr": ("optimizer.lr", "SOLVER.BASE_LR"),
    "max_iter": ("train.max_iter", "SOLVER.MAX_ITER"),
    "eval_period": ("train.eval_period", "TEST.EVAL_PERIOD"),
    "checkpoint_period": ("train.checkpointer.period", "SOLVER.CHECKPOINT_PERIOD"),
    "initial_phase": ("model.initial_phase_iters", "MODEL.TOOD.INITIAL_PHASE.ITERS"),
    "batch_size": ("dataloader.train.total_batch_size", "SOLVER.IMS_PER_BATCH"),
    "accumulation": ("train.gradient_accumulation", "SOLVER.GRADIENT_ACCUMULATION"),
    "scale": ("train.scale_schedule", "SOLVER.SCALE_SCHEDULE"),
    "reference": ("train.reference_batch_size", "SOLVER.REFERENCE_BATCH_SIZE"),
    "epochs": ("train.epochs", "SOLVER.EPOCHS"),
    "min_iter": ("train.min_iter", "SOLVER.MIN_ITER"),
}
LENGTHS = ("max_iter", "eval_period", "checkpoint_period", "initial_phase")
# 120 iterations with 12 of warm-up, steps at 80 and 110, 40 in the initial phase.
SHORT = {"max_iter": 120, "eval_period": 30, "checkpoint_period": 60, "initial_phase": 40}
SHORT_RATES = {
    "py": [
        "lr_multiplier.scheduler.num_updates=120",
        "lr_multiplier.scheduler.milestones=[80,110]",
        "lr_multiplier.warmup_length=0.1",
    ],
    "yaml": ["SOLVER.STEPS", (80, 110), "SOLVER.WARMUP_ITERS", 12],
}


def load(kind, overrides=(), **settings):
    """The R-50 1x config of a kind with settings named as in KEYS."""
    overrides = list(overrides)
    for name, value in settings.items():
        lazy_key, yaml_key = KEYS[name]
        overrides += [f"{lazy_key}={value}"] if kind == "py" else [yaml_key, value]
    overrides += ["train.device=cpu"] if kind == "py" else ["MODEL.DEVICE", "cpu"]
    run = load_run(str(CONFIGS / f"tood_R_50_FPN_1x.{kind}"), overrides)
    return replace(run, overridden={})  # as if the config's file had them


def load_short(kind, **settings):
    return load(kind, SHORT_RATES[kind], **SHORT, **settings)


def fit(run, num_images=None):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(run), "training_dicts", lambda self: [{}] * num_images)
        return fit_schedule(run)


def read(run, *names):
    """The values of settings named as in KEYS."""
    return [run.get(KEYS[name][isinstance(run, YamlRun)]) for name in names]


def learning_rates(run):
    """The learning rate at each iteration."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], run.options.lr)
    scheduler = run.build_lr_scheduler(optimizer)
    rates = []
    for _ in range(run.options.max_iter):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("kind", KINDS)
def test_a_quarter_of_the_batch(kind):
    run = fit(load(kind, batch_size=4, scale=True))
    assert read(run, "lr") == [0.01 / 4]
    # An epoch of 7330 iterations becomes one of 29320. The initial phase has 4, training 12.
    assert read(run, *LENGTHS) == [351840, 29320, 29320, 117280]
    if kind == "yaml":
        assert run.options.steps == (4 * 58640, 4 * 80630)
        assert run.options.warmup_iters == 4 * 500


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_size": 4},  # not asked for
        {"scale": True},
        {"scale": True, "batch_size": 4, "accumulation": 4},  # 4 * 4 = 16 images per step
        {"scale": True, "batch_size": 8, "reference": 8},
    ],
)
def test_schedules_that_fit_are_left_alone(kind, settings):
    names = ("lr", *LENGTHS)
    assert read(fit(load(kind, **settings)), *names) == read(load(kind), *names)


@pytest.mark.parametrize("kind", KINDS)
def test_accumulation_counts_into_the_batch(kind):
    # 8 * 4 = 32 images, twice the reference.
    run = fit(load_short(kind, batch_size=8, accumulation=4, scale=True))
    assert read(run, "lr", *LENGTHS) == [0.02, 60, 15, 30, 20]


@pytest.mark.parametrize("kind", KINDS)
def test_epochs(kind):
    # 2.5 epochs of 100 images: 250 / 16 = 15.6, so 16 iterations instead of 120.
    run = fit(load_short(kind, epochs=2.5), num_images=100)
    # 30 * 16 / 120 = 4, 60 * 16 / 120 = 8, 40 * 16 / 120 = 5.3
    assert read(run, "lr", *LENGTHS) == [0.01, 16, 4, 8, 5]
    if kind == "yaml":
        assert run.options.steps == (11, 15)  # from 10.7 and 14.7
        assert run.options.warmup_iters == 2  # from 1.6


@pytest.mark.parametrize("kind", KINDS)
def test_epochs_with_another_batch_size(kind):
    # 2.5 epochs of 100 images: 250 / 4 = 62.5, so 63 iterations.
    run = fit(load_short(kind, batch_size=4, scale=True, epochs=2.5), num_images=100)
    # 30 * 63 / 120 = 15.8, 60 * 63 / 120 = 31.5 (to the even number), 40 * 63 / 120 = 21
    assert read(run, "lr", *LENGTHS) == [0.0025, 63, 16, 32, 21]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_size": 4, "scale": True},  # 480 iterations
        {"epochs": 8},  # of 30 iterations each
        {"batch_size": 4, "scale": True, "epochs": 2.0},  # of 120 iterations each
    ],
)
def test_twins_stay_twins(settings):
    lazy, yaml = (fit(load_short(kind, **settings), num_images=480) for kind in KINDS)
    assert read(lazy, *KEYS) == read(yaml, *KEYS)
    assert learning_rates(lazy) == pytest.approx(learning_rates(yaml))


@pytest.mark.parametrize("kind", KINDS)
def test_small_batches_see_what_accumulated_ones_see(kind, tiny_tood):
    small = fit(load_short(kind, batch_size=4, scale=True))
    large = fit(load_short(kind, batch_size=4, accumulation=4, scale=True))
    small_rates, large_rates = learning_rates(small), learning_rates(large)
    assert len(small_rates) == 4 * len(large_rates) == 480

    def phase(run, iteration):
        model.initial_phase_iters = run.options.initial_phase_iters
        return model.in_initial_phase(iteration)

    model, phases = tiny_tood(), []
    for i, rate in enumerate(large_rates):  # after 16 * i images
        assert small_rates[4 * i] * 4 == pytest.approx(rate)
        phases.append(phase(large, i))
        # All four small batches that follow are in the phase of the large one.
        assert [phase(small, 4 * i + j) for j in range(4)] == [phases[-1]] * 4
    assert phases == [True] * 40 + [False] * 80


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("initial_phase", [0, -1])
def test_what_is_off_stays_off(kind, initial_phase):
    run = load(kind, batch_size=4, scale=True, eval_period=0, initial_phase=initial_phase)
    assert read(fit(run), "eval_period", "initial_phase") == [0, initial_phase]


@pytest.mark.parametrize("kind", KINDS)
def test_no_length_becomes_zero(kind):
    # 30 * 1 / 120 = 0.25, which would switch evaluation off.
    run = fit(load_short(kind, epochs=1.0), num_images=16)
    assert read(run, "max_iter", "eval_period", "initial_phase") == [1, 1, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_epochs_leave_lengths_that_the_user_gave(kind):
    column = KINDS.index(kind)
    run = load_short(kind, epochs=2.5)
    given = {KEYS["eval_period"][column]: 7330, KEYS["initial_phase"][column]: 29320}
    run = replace(run, overridden=given)
    # 16 iterations instead of 120.
    assert read(fit(run, num_images=100), *LENGTHS) == [16, 30, 8, 40]


@pytest.mark.parametrize("kind", KINDS)
def test_max_iter_of_the_command_line_takes_the_place_of_the_files_epochs(kind):
    run = load_short(kind, epochs=2.5)  # 120 iterations, 40 of them in the initial phase
    key = KEYS["max_iter"][KINDS.index(kind)]
    run = replace(run.with_options(max_iter=60), overridden={key: 120})
    # All are halved.
    assert read(fit(run, num_images=100), *LENGTHS) == [60, 15, 30, 20]
    run = replace(run, overridden=run.overridden | {KEYS["epochs"][KINDS.index(kind)]: None})
    # 16 iterations, see test_epochs
    assert read(fit(run, num_images=100), *LENGTHS) == [16, 4, 8, 5]


@pytest.mark.parametrize("kind", KINDS)
def test_least_number_of_iterations(kind):
    # 2.5 epochs of 100 images are 16 iterations, of 1600 images 250.
    run = load_short(kind, epochs=2.5, min_iter=60)
    assert read(fit(run, num_images=100), *LENGTHS) == [60, 15, 30, 20]
    assert read(fit(run, num_images=1600), "max_iter") == [250]
    # 60 iterations of 16 images are 120 of 8.
    run = load_short(kind, epochs=2.5, min_iter=60, batch_size=8, scale=True)
    assert read(fit(run, num_images=100), *LENGTHS) == [120, 30, 60, 40]
    # Without epochs it says nothing.
    assert read(fit(load_short(kind, min_iter=600)), "max_iter") == [120]


@pytest.mark.parametrize("kind", KINDS)
def test_scaling_twice_is_scaling_once(kind):
    run = fit(load_short(kind, batch_size=4, scale=True, epochs=2.5), num_images=100)
    once = read(run, *KEYS)
    assert read(run, "scale", "epochs") == [False, None]
    assert read(fit(run, num_images=100), *KEYS) == once


@pytest.mark.parametrize("kind", KINDS)
def test_changes_are_logged(kind, log):
    fit(load(kind, batch_size=4, scale=True))
    column = KINDS.index(kind)
    assert "4 images per step" in log.text
    assert f"{KEYS['lr'][column]}: 0.01 -> 0.0025" in log.text
    assert f"{KEYS['max_iter'][column]}: 87960 -> 351840" in log.text
    log.clear()
    fit(load(kind))
    assert not log.text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "settings, name",
    [
        ({"scale": True, "reference": 0}, "reference"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"accumulation": 0, "scale": True}, "accumulation"),
    ],
)
def test_wrong_values_are_named(kind, settings, name):
    with pytest.raises(ValueError, match=KEYS[name][KINDS.index(kind)]):
        fit(load(kind, **settings))


def test_detectrons_own_scaling_is_refused():
    with pytest.raises(ValueError, match="SOLVER.REFERENCE_WORLD_SIZE.*SOLVER.SCALE_SCHEDULE"):
        fit(load("yaml", ["SOLVER.REFERENCE_WORLD_SIZE", 8]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name, value, message",
    [
        ("max_iter", 0, "from 1 to 2147483647, not 0; --eval-only"),
        ("lr", -0.1, "from 0 to 65536, not -0.1"),
        ("lr", 1e300, "from 0 to 65536, not 1e"),
        ("eval_period", -3, "from 0 to 2147483647, not -3"),
        ("batch_size", 10**20, "from 1 to 65536, not 1"),
    ],
)
def test_values_that_nothing_can_be_trained_with(kind, name, value, message):
    key = KEYS[name][KINDS.index(kind)]
    with pytest.raises(ValueError, match=f"{key} should be {message}"):
        fit_schedule(load(kind, **{name: value}))


@pytest.mark.parametrize("override", ["train.seed=-2", f"train.seed={2**64}"])
def test_seeds_that_no_generator_takes(override):
    with pytest.raises(ValueError, match="train.seed should be from -1 to"):
        fit_schedule(load("py", [override]))


def test_more_workers_than_any_machine_has():
    with pytest.raises(ValueError, match="dataloader.train.num_workers should be from 0 to 1024"):
        fit_schedule(load("py", ["dataloader.train.num_workers=99999"]))


def test_nan_in_a_file():
    run = load("yaml").with_options(lr=math.nan)
    with pytest.raises(ValueError, match="SOLVER.BASE_LR should be .*, not nan"):
        fit_schedule(run)
