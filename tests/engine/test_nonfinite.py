"""Losses and gradients that are not finite."""

import math

import pytest
import torch
from torch import nn

from detectron2.structures import Boxes, Instances
from tood_d2.engine.step import AccumulatingTrainer

NAN, INF = float("nan"), float("inf")


class Net(nn.Module):
    """Two losses of a weight w = 2 and a batch norm, for samples with a number x."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.norm = nn.BatchNorm1d(1)

    def forward(self, batch):
        x = torch.tensor([[sample["x"]] for sample in batch])
        self.norm(x)
        # The gradient of sqrt at 0 is infinite, though the loss is 0.
        root = (self.weight * x).abs().sqrt().sum() if (x == 0).any() else self.weight * 0
        return {"loss_cls": (self.weight * x).sum(), "loss_box_reg": root}


def sample(x):
    instances = Instances((8, 9), gt_boxes=Boxes([[0, 0, 4, 4]]), gt_classes=torch.tensor([1]))
    return {"x": x, "image_id": int(x) if math.isfinite(x) else 99, "instances": instances}


def build(*batches, **kwargs):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    batches = [[sample(x) for x in batch] for batch in batches]
    return AccumulatingTrainer(model, batches, optimizer, **kwargs)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_training_ends_before_the_step(bad, tmp_path):
    trainer = build((1.0, 3.0), (5.0, bad), output_dir=str(tmp_path))
    with pytest.raises(FloatingPointError) as error:
        trainer.train(0, 2)
    message = str(error.value)
    assert "iteration 1" in message and "Images 5, 99" in message
    assert f"loss_cls {bad:.4g}" in message
    assert "train.max_nonfinite_steps or SOLVER.MAX_NONFINITE_STEPS" in message
    assert trainer.model.weight.item() == pytest.approx(1.6)  # 2 - 0.1 * (1 + 3)


def test_the_batch_is_saved(tmp_path):
    trainer = build((5.0, NAN), output_dir=str(tmp_path))
    with pytest.raises(FloatingPointError, match=r"saved: .*nonfinite_0000000_rank0\.pth"):
        trainer.train(0, 1)
    saved = torch.load(tmp_path / "nonfinite_0000000_rank0.pth", weights_only=True)
    assert saved["iteration"] == 0 and math.isnan(saved["values"]["loss_cls"])
    assert [x["image_id"] for x in saved["samples"]] == [5, 99]
    instances = saved["samples"][0]["instances"]
    assert instances["gt_boxes"].tolist() == [[0, 0, 4, 4]]
    assert instances["image_size"] == (8, 9)


def test_gradients_alone():
    trainer = build((0.0, 4.0))
    with pytest.raises(FloatingPointError, match="loss_cls 8.*largest gradient nan"):
        trainer.train(0, 1)
    assert trainer.model.weight.item() == 2


def test_all_batches_of_a_step_are_named():
    trainer = build((1.0, 2.0), (3.0, NAN), gradient_accumulation=2)
    with pytest.raises(FloatingPointError, match="Images 1, 2, 3, 99"):
        trainer.train(0, 1)


def test_steps_are_left_out_as_often_as_allowed(log, tmp_path):
    bad = (5.0, NAN)
    trainer = build((1.0, 3.0), bad, (2.0, 2.0), bad, bad, max_nonfinite_steps=2)
    with pytest.raises(FloatingPointError, match="it is 2"):
        trainer.train(0, 5)
    assert trainer.model.weight.item() == pytest.approx(1.2)  # 2 - 0.1 * (1 + 3) - 0.1 * (2 + 2)
    assert trainer.iter == 4
    assert "Steps left out: 1 of 2 allowed" in log.text


def test_a_step_that_is_left_out_leaves_the_statistics_of_batch_norm():
    trainer = build((1.0, 3.0), (5.0, NAN), max_nonfinite_steps=1)
    trainer.train(0, 2)
    norm = trainer.model.norm
    assert norm.running_mean.item() == pytest.approx(0.2)  # 0.9 * 0 + 0.1 * 2
    assert norm.num_batches_tracked.item() == 1


def test_the_phase_is_named(tiny_tood):
    model = tiny_tood()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    model.head.cls_logits.bias.data.fill_(NAN)
    batch = [sample(1.0) | {"image": torch.zeros(3, 8, 9)}]
    for iteration, phase in enumerate(["initial phase", "task alignment learning"]):
        trainer = AccumulatingTrainer(model, [batch], optimizer)
        with pytest.raises(FloatingPointError, match=f"Images 1, {phase}: loss_cls nan"):
            trainer.train(iteration, iteration + 1)
