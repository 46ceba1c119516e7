"""What is logged of TOOD's phase and assignment."""

import logging
from types import SimpleNamespace

import pytest
import torch
from conftest import build_tiny_tood

from tood_d2.engine.hooks.assignment import AssignmentHook
from tood_d2.modeling.meta_arch import ALWAYS


@pytest.fixture
def messages():
    """The log records of the hooks."""

    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("tood_d2.engine.hooks.assignment")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield records
    logger.removeHandler(handler)


def run(initial_phase_iters, start, end):
    """Trains without steps; gives what is logged of the phase at each iteration."""
    model = build_tiny_tood(initial_phase_iters=initial_phase_iters)
    model.assignment_metrics = {"a": torch.tensor(3), "b/p3": torch.tensor(0.5)}
    hook, phases, metrics = AssignmentHook(model), [], []
    storage = SimpleNamespace(
        put_scalar=lambda name, value, **_: phases.append((name, value)),
        put_scalars=lambda **scalars: metrics.append(scalars),
    )
    hook.trainer = SimpleNamespace(iter=start, start_iter=start, max_iter=end, storage=storage)
    hook.before_train()
    for iteration in range(start, end):
        hook.trainer.iter = iteration
        hook.before_step()
        hook.after_step()
    assert {name for name, _ in phases} == {"[metric] initial_phase"}
    assert metrics == [{"[metric] a": 3, "[metric] b/p3": 0.5}] * (end - start)
    return [value for _, value in phases]


def test_shares_of_unmatched_objects_are_those_of_all_objects_in_the_window():
    model = build_tiny_tood()
    model.assignment_metrics = {"a": torch.tensor(1.0)}
    hook, logged = AssignmentHook(model, window=3), []
    hook.trainer = SimpleNamespace(
        iter=0,
        storage=SimpleNamespace(
            put_scalar=lambda name, value, **_: logged[-1].update({name: value}),
            put_scalars=lambda **_: None,
        ),
    )
    # Objects and unmatched ones of each step.
    steps = [
        [[1, 0, 0], [1, 0, 0]],
        [[9, 0, 2], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 0]],
        [[6, 0, 0], [2, 0, 0]],
        [[0, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 0]],
    ]
    for counts in steps:
        model.object_counts = torch.tensor(counts)
        logged.append({})
        hook.after_step()
    name = "[metric] unmatched_share/"
    shares = [{k.removeprefix(name): v for k, v in x.items() if k.startswith(name)} for x in logged]
    assert shares == [
        {"small": 1},
        {"small": 1 / 10, "large": 0},
        {"small": 1 / 10, "large": 0},
        {"small": 2 / 15, "large": 0},
        {"small": 2 / 6},
        {"small": 2 / 6},
        {},
    ]


def said(messages, level=logging.INFO):
    return [record.getMessage() for record in messages if record.levelno == level]


def test_both_phases_are_announced_once(messages):
    assert run(3, start=0, end=6) == [1, 1, 1, 0, 0, 0]
    first, second = said(messages)
    assert "Iteration 0: initial phase" in first and "until iteration 3" in first
    assert second == "Iteration 3: task alignment learning."
    assert not said(messages, logging.WARNING)


@pytest.mark.parametrize("start", [3, 4])
def test_a_run_resumed_in_the_second_phase(messages, start):
    run(3, start=start, end=6)
    assert said(messages) == [f"Iteration {start}: task alignment learning."]


def test_no_initial_phase(messages):
    run(0, start=0, end=2)
    assert said(messages) == ["Iteration 0: task alignment learning."]
    assert not said(messages, logging.WARNING)


def test_an_initial_phase_for_all_of_training(messages):
    assert run(ALWAYS, start=0, end=2) == [1, 1]
    assert said(messages) == ["Iteration 0: ATSS assignment throughout."]
    assert not said(messages, logging.WARNING)


@pytest.mark.parametrize("end, warned", [(2, True), (3, True), (4, False)])
def test_a_schedule_that_ends_inside_the_initial_phase_is_warned_of(messages, end, warned):
    run(3, start=0, end=end)
    warnings = said(messages, logging.WARNING)
    assert len(warnings) == warned
    if warned:
        assert f"{end} iterations" in warnings[0] and "model.initial_phase_iters" in warnings[0]
