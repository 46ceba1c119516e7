"""Seeds of runs and steps."""

import random

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from detectron2.config import get_cfg
from detectron2.engine import HookBase
from tood_d2 import add_tood_config
from tood_d2.checkpoint.recovery import LastCheckpoint
from tood_d2.config import as_run
from tood_d2.engine.seeding import SeedSteps, with_seed


def lazy(folder, seed=-1):
    return OmegaConf.create({"train": {"output_dir": str(folder), "max_iter": 9, "seed": seed}})


def yaml(folder, seed=-1):
    cfg = get_cfg()
    add_tood_config(cfg)
    cfg.OUTPUT_DIR, cfg.SEED = str(folder), seed
    return cfg


@pytest.fixture(params=[lazy, yaml])
def seed_of(request, tmp_path):
    """The seed of a run, from what its last checkpoint holds and that of its config."""

    def _seed_of(content=None, seed=-1):
        last = None if content is None else LastCheckpoint("", content)
        return with_seed(as_run(request.param(tmp_path, seed)), last).options.seed

    return _seed_of


def test_a_seed_is_chosen(seed_of):
    seeds = {seed_of() for _ in range(3)}
    assert len(seeds) == 3 and min(seeds) >= 0


def test_a_given_seed_stays(seed_of):
    assert seed_of({"seed": 7}, seed=3) == 3


def test_a_resumed_run_keeps_its_seed(seed_of):
    assert seed_of({"seed": 7}) == 7


@pytest.mark.parametrize("content", [{}, {"seed": -1}, {"seed": "7"}])
def test_a_checkpoint_may_have_no_seed(seed_of, content):
    assert seed_of(content) >= 0


class Draw(HookBase):
    """Draws a number of each generator in each step."""

    def __init__(self):
        self.numbers = []

    def after_step(self):
        self.numbers.append((random.random(), np.random.rand(), torch.rand(1).item()))


def test_numbers_of_a_step_depend_on_seed_and_iteration(steps):
    def draw(seed, start, end):
        hook = Draw()
        steps(SeedSteps(seed), hook).train(start, end)
        return hook.numbers

    numbers = draw(1, 0, 6)
    assert len(set(numbers)) == 6
    assert draw(1, 4, 6) == numbers[4:]
    assert draw(2, 4, 6) != numbers[4:]
