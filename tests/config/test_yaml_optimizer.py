"""Optimisers of YAML configs."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tood_d2.config import load_run

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "tood_R_50_FPN_1x.yaml"


def build(*overrides):
    """The optimiser of a layer and a norm, and its weight decay by parameter."""
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    names = {id(x): name for name, x in model.named_parameters()}
    optimizer = load_run(str(CONFIG), list(overrides)).build_optimizer(model)
    groups = optimizer.param_groups
    return optimizer, {names[id(x)]: g["weight_decay"] for g in groups for x in g["params"]}


def test_sgd_is_the_default():
    optimizer, decay = build()
    assert type(optimizer) is torch.optim.SGD
    assert set(decay.values()) == {1e-4} and len(decay) == 4


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_parameters_without_decay(kind):
    optimizer, decay = build(
        *("SOLVER.OPTIMIZER", kind.__name__, "SOLVER.UNDECAYED", "['bias']"),
        *("SOLVER.WEIGHT_DECAY", "0.05", "SOLVER.WEIGHT_DECAY_NORM", "0.01"),
        *("SOLVER.BASE_LR", "0.002"),
    )
    assert type(optimizer) is kind and {g["lr"] for g in optimizer.param_groups} == {0.002}
    assert decay == {"0.weight": 0.05, "0.bias": 0.0, "1.weight": 0.01, "1.bias": 0.0}
    if kind is torch.optim.SGD:
        assert {g["momentum"] for g in optimizer.param_groups} == {0.9}


def test_gradients_are_clipped_with_every_optimizer():
    optimizer, _ = build("SOLVER.OPTIMIZER", "AdamW", "SOLVER.CLIP_GRADIENTS.ENABLED", "True")
    assert isinstance(optimizer, torch.optim.AdamW) and "Clip" in type(optimizer).__name__


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_the_backbone_learns_more_slowly(kind):
    layers = {"bottom_up": nn.Linear(2, 3), "fpn_output3": nn.Linear(3, 3)}
    model = nn.ModuleDict({"backbone": nn.ModuleDict(layers), "head": nn.Linear(3, 4)})
    overrides = ["SOLVER.OPTIMIZER", kind, "SOLVER.BASE_LR", "0.002"]
    overrides += ["SOLVER.BACKBONE_MULTIPLIER", "0.1"]
    optimizer = load_run(str(CONFIG), overrides).build_optimizer(model)
    rates = {id(x): group["lr"] for group in optimizer.param_groups for x in group["params"]}
    for name, parameter in model.named_parameters():
        expected = 0.0002 if name.startswith("backbone.bottom_up.") else 0.002
        assert rates[id(parameter)] == pytest.approx(expected), name


def test_unknown_optimizers_are_refused():
    with pytest.raises(ValueError, match="SOLVER.OPTIMIZER should be SGD or AdamW, not 'Lion'"):
        build("SOLVER.OPTIMIZER", "Lion")
