import logging
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from detectron2.engine import hooks
from tood_d2.checkpoint.training_checkpointer import TrainingCheckpointer
from tood_d2.config.options import TrainingOptions
from tood_d2.engine.ema import EMAHook, build_ema
from tood_d2.engine.hooks.phase.evaluation import BestCheckpoint, EarlyStopping, ValidationLoss
from tood_d2.engine.hooks.phase.phase import (
    AssignmentMetrics,
    CheckpointHook,
    PhaseHook,
    build_hooks,
)
from tood_d2.engine.hooks.phase.preemption import PreemptionHook
from tood_d2.modeling.meta_arch import ALWAYS


@pytest.fixture
def messages():
    """The log records of the hooks."""

    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("tood_d2.engine.hooks.phase")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield records
    logger.removeHandler(handler)


def run(hook, start, end):
    hook.trainer = SimpleNamespace(iter=start, start_iter=start, max_iter=end)
    hook.before_train()
    for iteration in range(start, end):
        hook.trainer.iter = iteration
        hook.before_step()


def said(messages, level=logging.INFO):
    return [record.getMessage() for record in messages if record.levelno == level]


def test_both_phases_are_announced_once(messages):
    run(PhaseHook(3), start=0, end=6)
    first, second = said(messages)
    assert "Iteration 0: initial phase" in first and "until iteration 3" in first
    assert second == "Iteration 3: task alignment learning."
    assert not said(messages, logging.WARNING)


@pytest.mark.parametrize("start", [3, 4])
def test_a_run_resumed_in_the_second_phase(messages, start):
    run(PhaseHook(3), start=start, end=6)
    assert said(messages) == [f"Iteration {start}: task alignment learning."]


def test_no_initial_phase(messages):
    run(PhaseHook(0), start=0, end=2)
    assert said(messages) == ["Iteration 0: task alignment learning."]
    assert not said(messages, logging.WARNING)


def test_an_initial_phase_for_all_of_training(messages):
    run(PhaseHook(ALWAYS), start=0, end=2)
    assert said(messages) == ["Iteration 0: ATSS assignment throughout."]
    assert not said(messages, logging.WARNING)


@pytest.mark.parametrize("end, warned", [(2, True), (3, True), (4, False)])
def test_a_schedule_that_ends_inside_the_initial_phase_is_warned_of(messages, end, warned):
    run(PhaseHook(3), start=0, end=end)
    warnings = said(messages, logging.WARNING)
    assert len(warnings) == warned
    if warned:
        assert f"{end} iterations" in warnings[0] and "INITIAL_PHASE.ITERS" in warnings[0]


def test_metrics_of_the_assignment_are_logged(steps):
    class Model:
        assignment_metrics = {"a": torch.tensor(3), "b/p3": torch.tensor(0.5)}

    trainer = steps(AssignmentMetrics(Model))
    trainer.train(0, 2)
    scalars = trainer.storage.latest()
    assert scalars == {"[metric] a": (3, 1), "[metric] b/p3": (0.5, 1)}


def build(model, folder, precise_bn=None, **options):
    """The types of a run's hooks, and the run's metric."""
    options = TrainingOptions(output_dir=str(folder), max_iter=2, **options)
    built = build_hooks(
        options,
        model,
        ema=build_ema(model, 0.9) if options.ema_enabled else None,
        scheduler=None,
        checkpointer=TrainingCheckpointer(model, str(folder), []),
        evaluate=lambda model, folder: {},
        build_validation_loader=list,
        build_writers=list,
        precise_bn=precise_bn,
    )
    return [type(hook) for hook in built], [getattr(hook, "metric", None) for hook in built]


def test_other_models_have_no_phases(tiny_tood, tmp_path):
    for hook in (PhaseHook, AssignmentMetrics):
        assert hook in build(tiny_tood(), tmp_path)[0]
        assert hook not in build(nn.Linear(1, 1), tmp_path)[0]


def test_metrics_are_those_of_training(tiny_tood, tmp_path):
    """They are logged before other hooks give the model batches."""
    model = tiny_tood()
    precise_bn = hooks.PreciseBN(1, nn.BatchNorm2d(1), [], 1)
    types, _ = build(model, tmp_path, precise_bn, validation_loss=True)
    positions = [types.index(x) for x in (AssignmentMetrics, hooks.PreciseBN, ValidationLoss)]
    assert positions == sorted(positions)


def test_hooks_come_in_the_order_of_what_they_need(tmp_path):
    model = nn.Linear(1, 1)
    types, metrics = build(model, tmp_path, ema_enabled=True, eval_period=5, early_stopping=3)
    needed = [EMAHook, CheckpointHook, PreemptionHook, hooks.EvalHook, BestCheckpoint]
    needed.append(EarlyStopping)
    positions = [types.index(hook) for hook in needed]
    assert positions == sorted(positions)
    assert types[-1] is hooks.PeriodicWriter
    assert "ema/bbox/AP" in metrics
    types, metrics = build(model, tmp_path)
    assert EMAHook not in types and EarlyStopping not in types
    assert "bbox/AP" in metrics


@pytest.mark.parametrize("has_old_final", [False, True])
def test_a_run_killed_right_before_its_final_checkpoint(steps, tmp_path, has_old_final):
    checkpointer = TrainingCheckpointer(nn.Linear(1, 1), str(tmp_path), [])
    if has_old_final:  # of a shorter run
        checkpointer.save("model_final", iteration=1)
    checkpointer.save("model_0000003", iteration=3)
    steps(CheckpointHook(checkpointer, 2)).train(4, 4)
    assert torch.load(tmp_path / "model_final.pth", weights_only=True)["iteration"] == 3
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
