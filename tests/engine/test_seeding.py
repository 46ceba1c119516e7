"""Seeds of runs and steps."""

import random

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from detectron2.config import get_cfg
from detectron2.engine import HookBase
from tood_d2 import add_tood_config
from tood_d2.checkpoint.recovery import load_last_checkpoint
from tood_d2.checkpoint.training_checkpointer import TrainingCheckpointer
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
    """The seed of a run, from that of its config."""

    def _seed_of(resume, seed=-1):
        last = load_last_checkpoint(str(tmp_path)) if resume else None
        return with_seed(as_run(request.param(tmp_path, seed)), last).options.seed

    return _seed_of


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint of a run with the seed 7."""
    TrainingCheckpointer(nn.Linear(1, 1), str(tmp_path), [], seed=7).save("model_0000001")


def test_a_seed_is_chosen(seed_of):
    seeds = {seed_of(resume=False) for _ in range(3)}
    assert len(seeds) == 3 and min(seeds) >= 0


def test_a_given_seed_stays(seed_of, checkpoint):
    assert seed_of(resume=True, seed=3) == 3


def test_a_resumed_run_keeps_its_seed(seed_of, checkpoint):
    assert seed_of(resume=True) == 7
    assert seed_of(resume=False) != 7


def test_there_may_be_nothing_to_resume(seed_of):
    assert seed_of(resume=True) >= 0


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
