"""What a subclass of the trainer overrides is obeyed, with configs of both kinds."""

import multiprocessing
import re
from pathlib import Path

import pytest
import torch
from fvcore.common.param_scheduler import MultiStepParamScheduler
from torch import nn

from detectron2.engine import HookBase
from detectron2.engine import hooks as d2_hooks
from detectron2.evaluation import DatasetEvaluator
from detectron2.solver import LRMultiplier
from detectron2.utils.events import EventWriter
from tood_d2.config import as_run, load_run, register_datasets
from tood_d2.engine import Trainer
from tood_d2.engine.ema import EMAHook
from tood_d2.engine.hooks.assignment import AssignmentHook
from tood_d2.engine.hooks.checkpoints import CheckpointHook
from tood_d2.engine.hooks.evaluation import BestWeights, EarlyStopping, EvaluationHook
from tood_d2.engine.hooks.preemption import PreemptionHook

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


class Model(nn.Module):
    """A detector with one weight, which is its loss."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, batch):
        return {"loss": self.weight} if self.training else [{} for _ in batch]


class Evaluator(DatasetEvaluator):
    def process(self, inputs, outputs):
        pass

    def evaluate(self):
        return {"bbox": {"AP": 7.0}}


class Small(Trainer):
    """Without images."""

    @classmethod
    def build_model(cls, cfg):
        return Model()

    @classmethod
    def build_train_loader(cls, cfg):
        return [[{}]] * 9

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        return [[{}]]

    @classmethod
    def build_evaluator(cls, cfg, dataset_name):  # as in Detectron2, without a folder
        return Evaluator()


@pytest.fixture(params=["py", "yaml"])
def build_cfg(request, shapes, tmp_path):
    """A config of three iterations on the generated images."""

    def _build_cfg(**options):
        run = load_run(str(CONFIGS / f"tood_R_50_FPN_1x.{request.param}"))
        data = {f"{x}_json": f"{shapes}/{y}.json" for x, y in (("train", "train"), ("test", "val"))}
        data |= {f"{x}_images": f"{shapes}/{y}" for x, y in (("train", "train"), ("test", "val"))}
        options = {"max_iter": 3, "output_dir": str(tmp_path), **data, **options}
        return register_datasets(run.with_options(**options)).cfg

    return _build_cfg


def test_overridden_parts_train_and_evaluate(build_cfg):
    trainer = Small(build_cfg(lr=0.1, warmup_iters=0))
    assert trainer.train()["bbox"]["AP"] == 7
    assert isinstance(trainer.model, Model) and trainer.model.weight < 1
    assert trainer.storage.latest()["bbox/AP"] == (7, 3)


def test_build_optimizer(build_cfg):
    class Own(Small):
        @classmethod
        def build_optimizer(cls, cfg, model):
            return torch.optim.SGD(model.parameters(), lr=0.25)

        @classmethod
        def build_lr_scheduler(cls, cfg, optimizer):
            return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)

    trainer = Own(build_cfg())
    trainer.train()
    assert trainer.model.weight == 1 - 3 * 0.25


def test_build_lr_scheduler(build_cfg):
    class Own(Small):
        @classmethod
        def build_lr_scheduler(cls, cfg, optimizer):
            return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: [1, 0, 0, 0][i])

    trainer = Own(build_cfg(lr=0.5))
    trainer.train()
    # The learning rate of the first step alone is not 0. Weight decay is 1e-4.
    assert trainer.model.weight.item() == pytest.approx(1 - 0.5 * (1 + 1e-4))


def test_build_hooks(build_cfg):
    class Count(HookBase):
        steps = 0

        def after_step(self):
            self.steps += 1

    class Own(Small):
        def build_hooks(self):
            self.count = Count()
            return [*super().build_hooks(), self.count]

    trainer = Own(build_cfg())
    trainer.train()
    assert trainer.count.steps == 3


def test_build_writers(build_cfg):
    class Writer(EventWriter):
        totals = []

        def write(self):
            self.totals.append(1)

    class Own(Small):
        def build_writers(self):
            return [Writer()]

    Own(build_cfg(log_period=1)).train()
    assert len(Writer.totals) >= 3


def test_test(build_cfg):
    class Own(Small):
        @classmethod
        def test(cls, cfg, model, evaluators=None):
            return {"bbox": {"AP": 9.0}}

    trainer = Own(build_cfg())
    trainer.train()
    assert trainer.storage.latest()["bbox/AP"] == (9, 3)


def test_the_config_is_given_to_what_is_overridden(build_cfg):
    cfg, given = build_cfg(), []

    class Own(Small):
        @classmethod
        def build_model(cls, cfg):
            given.append(cfg)
            return super().build_model(cfg)

    assert Own(cfg).cfg is cfg and given == [cfg]


def test_states_of_earlier_versions_are_loaded(build_cfg):
    trainer = Small(build_cfg())
    trainer.train()
    state = trainer.state_dict()
    state = state.pop("_trainer") | state
    state["optimizer"]["param_groups"][0]["lr"] = 0.125
    resumed = Small(build_cfg())
    resumed.load_state_dict(state)
    assert resumed.iter == 3 and resumed.optimizer.param_groups[0]["lr"] == 0.125


@pytest.mark.parametrize("max_iter, rate", [(8, 0.05), (20, 0.5)])
def test_a_resumed_run_follows_its_own_schedule(build_cfg, max_iter, rate):
    """The rate falls to a tenth when half of the iterations are done, so in the first run at 2."""

    class Own(Small):
        @classmethod
        def build_lr_scheduler(cls, cfg, optimizer):
            steps = MultiStepParamScheduler([1, 0.1], milestones=[1], num_updates=2)
            return LRMultiplier(optimizer, steps, as_run(cfg).options.max_iter)

    first = Own(build_cfg(max_iter=4, lr=0.5))
    first.train()
    assert first.optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    resumed = Own(build_cfg(max_iter=max_iter, lr=0.5))
    resumed.resume_or_load(resume=True)
    assert resumed.start_iter == 4
    assert resumed.optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_a_run_that_is_longer_than_wanted_is_complete(build_cfg, log):
    Small(build_cfg(max_iter=3)).train()
    shorter = Small(build_cfg(max_iter=2))
    shorter.resume_or_load(resume=True)
    message = r"The 3 iterations of the checkpoint.* (train.max_iter|SOLVER.MAX_ITER).* is 2"
    assert any(re.match(message, x) for x in log.messages)
    weight = shorter.model.weight.item()
    shorter.train()
    assert shorter.model.weight == weight


def test_another_optimizer_is_not_resumed(build_cfg):
    class Own(Small):
        @classmethod
        def build_optimizer(cls, cfg, model):
            return torch.optim.AdamW(model.parameters(), lr=0.25)

    Small(build_cfg()).train()
    with pytest.raises(ValueError, match="another optimizer.*betas"):
        Own(build_cfg()).resume_or_load(resume=True)


def test_the_first_error_is_told_where_others_follow(build_cfg):
    class Failing(HookBase):
        def after_step(self):
            raise KeyError("first")

        def after_train(self):
            1 / 0  # noqa: B018

    trainer = Small(build_cfg())
    trainer.register_hooks([Failing()])
    with pytest.raises(KeyError, match="first"):
        trainer.train()


def types_of(trainer):
    return [type(hook) for hook in trainer._hooks]


def test_hooks_come_in_the_order_of_what_they_need(build_cfg):
    options = {"ema_enabled": True, "eval_period": 5, "early_stopping": 3, "seed": 1}
    trainer = Small(build_cfg(**options))
    types = types_of(trainer)
    needed = [EMAHook, CheckpointHook, PreemptionHook, EvaluationHook, d2_hooks.PeriodicWriter]
    assert [x for x in types if x in needed] == needed and types[-1] is needed[-1]
    (evaluation,) = (x for x in trainer._hooks if isinstance(x, EvaluationHook))
    best, stopping = evaluation.listeners
    assert isinstance(best, BestWeights) and best.metric == "ema/bbox/AP"
    assert isinstance(stopping, EarlyStopping) and set(stopping.finals) == {
        "model_final",
        "model_final_ema",
    }


def test_other_models_have_no_phases(build_cfg, tiny_tood):
    class Own(Small):
        @classmethod
        def build_model(cls, cfg):
            return tiny_tood()

    assert AssignmentHook not in types_of(Small(build_cfg()))
    types = types_of(Own(build_cfg(validation_loss=True)))
    assert types.index(AssignmentHook) < types.index(EvaluationHook)


def test_gradients_are_clipped(build_cfg):
    """The gradient of the weight is 1; clipped, it is 0.25."""
    options = {"clip_enabled": True, "clip_type": "value", "clip_value": 0.25}
    cfg = build_cfg(**options)
    model = Model()
    optimizer = as_run(cfg).build_optimizer(model)
    model([{}])["loss"].backward()
    optimizer.step()
    assert model.weight.grad == 0.25


def test_several_test_sets_are_told_apart(build_cfg, monkeypatch):
    cfg = build_cfg()
    monkeypatch.setattr(type(as_run(cfg)), "test_names", ["first", "second"])
    results = Small.test(cfg, Model().eval())
    assert results == {name: {"bbox": {"AP": 7.0}} for name in ("first", "second")}


def test_the_loaders_workers_end_with_training(tiny_overrides, tmp_path):
    options = ["dataloader.train.num_workers=1", "train.max_iter=1", "train.eval_period=0"]
    options.append(f"train.output_dir={tmp_path}")
    run = load_run(str(CONFIGS / "tood_R_18_FPN_small.py"), [*tiny_overrides, *options])
    trainer = Trainer(register_datasets(run).cfg)
    trainer.train()
    assert not multiprocessing.active_children()
