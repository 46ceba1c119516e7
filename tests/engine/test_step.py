"""Accumulated gradients and mixed precision."""

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from detectron2.structures import Boxes, Instances
from tood_d2.engine import step
from tood_d2.engine.step import AccumulatingTrainer


class Line(nn.Module):
    """y = w * x with w = 2 and two losses, y and 2 * y, whose gradients add up to 3 * x."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.linear.weight, 2.0)
        self.dtypes = []

    def forward(self, x):
        y = self.linear(x).sum()
        self.dtypes.append(y.dtype)
        return {"loss_a": y, "loss_b": 2 * y}


def build_trainer(batches, momentum=0.0, model=None, **kwargs):
    """A trainer with learning rate 0.1, on batches of a single number."""
    model = model or Line()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=momentum)
    data = [torch.tensor([[float(x)]]) for x in batches]
    return AccumulatingTrainer(model, data, optimizer, **kwargs)


def weight(trainer):
    return trainer.model.linear.weight.item()


def test_the_gradient_is_the_mean_of_the_batches():
    trainer = build_trainer([1, 2, 6, 0, 0, 4], gradient_accumulation=3)
    trainer.train(0, 1)
    assert trainer.model.linear.weight.grad.item() == 9  # 3 * (1 + 2 + 6) / 3
    assert weight(trainer) == pytest.approx(1.1)  # 2 - 0.1 * 9
    trainer.train(1, 2)  # the first step's gradient is forgotten
    assert trainer.model.linear.weight.grad.item() == pytest.approx(4)  # 3 * (0 + 0 + 4) / 3


def test_without_accumulation_each_batch_is_a_step():
    trainer = build_trainer([1, 2])
    trainer.train(0, 2)
    assert weight(trainer) == pytest.approx(1.1)  # 2 - 0.1 * 3 * 1 - 0.1 * 3 * 2


def test_mean_losses_are_logged():
    trainer = build_trainer([1, 2, 6], gradient_accumulation=3)
    trainer.train(0, 1)
    scalars = {name: value for name, (value, _) in trainer.storage.latest().items()}
    assert scalars["loss_a"] == pytest.approx(6)  # 2 * (1 + 2 + 6) / 3
    assert scalars["loss_b"] == pytest.approx(12)
    assert scalars["total_loss"] == pytest.approx(18)
    assert scalars["data_time"] >= 0


def test_bfloat16():
    trainer = build_trainer([1, 2, 6], gradient_accumulation=3, amp_dtype=torch.bfloat16)
    trainer.train(0, 1)
    assert trainer.model.dtypes == [torch.bfloat16] * 3
    assert trainer.model.linear.weight.dtype == torch.float32
    assert weight(trainer) == pytest.approx(1.1, rel=1e-2)  # bfloat16 has 8 significant bits


@pytest.mark.parametrize("iteration", [0, 1], ids=["initial phase", "task alignment learning"])
def test_tood_in_bfloat16(tiny_tood, iteration):
    instances = Instances((64, 96))
    instances.gt_boxes = Boxes(torch.tensor([[8.0, 6.0, 50.0, 44.0]]))
    instances.gt_classes = torch.tensor([1])
    image = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)
    model = tiny_tood()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    batches = [[{"image": image, "instances": instances}]]
    trainer = AccumulatingTrainer(model, batches, optimizer, amp_dtype=torch.bfloat16)
    before = [p.detach().clone() for p in model.parameters()]
    trainer.train(iteration, iteration + 1)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters())
    assert any(not torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_overflows_of_float16_skip_the_step_and_lower_the_scale():
    # The scale starts with 65536. Gradients of 3 * 65536 and 3 * 32768 are more than float16's
    # largest number, 65504, so two steps are skipped; 3 * 16384 is less.
    trainer = build_trainer([1, 1, 1], amp_dtype=torch.float16)
    trainer.train(0, 2)
    assert weight(trainer) == 2 and trainer.grad_scaler.get_scale() == 16384
    trainer.train(2, 3)
    assert weight(trainer) == pytest.approx(1.7)  # 2 - 0.1 * 3


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_losses_that_are_not_finite(bad):
    trainer = build_trainer([1, bad], gradient_accumulation=2)
    with pytest.raises(FloatingPointError, match="iteration 0"):
        trainer.train(0, 1)
    assert weight(trainer) == 2


class TestLackOfMemory:
    @pytest.fixture
    def trainer(self, tiny_tood):
        instances = Instances((64, 96), gt_boxes=Boxes(torch.tensor([[4.0, 5.0, 50.0, 60.0]] * 3)))
        instances.gt_classes = torch.tensor([1, 1, 1])
        batch = [
            {"image": torch.zeros(3, *size, dtype=torch.uint8), "instances": x}
            for size, x in (((64, 96), instances), ((80, 32), instances[:1]))
        ]
        model = tiny_tood()
        return AccumulatingTrainer(model, [batch], torch.optim.SGD(model.parameters(), lr=0.1))

    def test_the_batch_is_described(self, trainer, monkeypatch):
        monkeypatch.setattr(trainer.model.backbone, "forward", lambda x: torch.empty(2**50))
        message = (
            "out of memory in iteration 0, with 2 images of up to 80x96 pixels and up to 3 objects"
        )
        with pytest.raises(
            MemoryError, match=f"{message}: lower .*total_batch_size.*IMS_PER_BATCH"
        ):
            trainer.train(0, 1)

    def test_of_a_gpu(self, trainer, monkeypatch):
        def fail(x):
            raise torch.OutOfMemoryError("CUDA out of memory.")

        monkeypatch.setattr(trainer.model.backbone, "forward", fail)
        with pytest.raises(MemoryError, match="or set train.amp.enabled"):
            trainer.train(0, 1)

    def test_other_errors_stay_what_they_are(self, trainer, monkeypatch):
        monkeypatch.setattr(trainer.model.backbone, "forward", lambda x: x.reshape(7))
        with pytest.raises(RuntimeError) as caught:
            trainer.train(0, 1)
        assert not isinstance(caught.value, MemoryError)


def test_a_model_in_evaluation_mode():
    trainer = build_trainer([1])
    trainer.model.eval()
    with pytest.raises(AssertionError, match="evaluation mode"):
        trainer.train(0, 1)


def test_the_state_includes_the_optimizer():
    first = build_trainer([1, 2], momentum=0.5)
    first.train(0, 1)  # a velocity of 3, w = 2 - 0.1 * 3 = 1.7
    second = build_trainer([2], momentum=0.5)
    second.load_state_dict(first.state_dict())
    second.model.load_state_dict(first.model.state_dict())
    second.train(1, 2)  # a velocity of 0.5 * 3 + 3 * 2 = 7.5
    assert weight(second) == pytest.approx(0.95)  # 1.7 - 0.1 * 7.5


def test_the_state_includes_the_scale():
    half = build_trainer([1, 1], amp_dtype=torch.float16)
    half.train(0, 2)
    resumed = build_trainer([], amp_dtype=torch.float16)
    resumed.load_state_dict(half.state_dict())
    assert resumed.grad_scaler.get_scale() == 16384
    # Mixed precision may be switched on and off between runs.
    single = build_trainer([])
    single.load_state_dict(half.state_dict())
    resumed.load_state_dict(single.state_dict())


def worker(rank, file):
    # They meet in a file, as a free port may be taken by then.
    dist.init_process_group("gloo", init_method=f"file://{file}.meet", world_size=2, rank=rank)
    reductions = []

    def count(_, bucket):
        reductions.append(bucket)
        return allreduce_hook(None, bucket)

    model = DistributedDataParallel(Line())
    model.register_comm_hook(None, count)
    calls = []

    def all_reduce(tensor):
        calls.append(tensor.numel())
        dist.all_reduce(tensor)

    step.dist = SimpleNamespace(all_reduce=all_reduce)
    trainer = build_trainer([[1, 2], [3, 6]][rank], model=model, gradient_accumulation=2)
    trainer.train(0, 1)
    if rank == 0:
        result = (model.module.linear.weight.item(), trainer.storage.latest()["loss_a"][0])
        torch.save((*result, len(reductions), calls), file)
    dist.barrier()
    dist.destroy_process_group()


def test_two_processes(tmp_path):
    file = tmp_path / "result.pth"
    mp.spawn(worker, (file,), nprocs=2)
    updated, loss, num_reductions, calls = torch.load(file)
    one_process = build_trainer([1, 2, 3, 6], gradient_accumulation=4)
    one_process.train(0, 1)
    # The gradient is 3 * (1 + 2 + 3 + 6) / 4 = 9.
    assert updated == pytest.approx(weight(one_process)) == pytest.approx(1.1)
    assert loss == pytest.approx(6)  # 2 * (1 + 2 + 3 + 6) / 4
    assert num_reductions == 1  # once a step, not once a batch
    # Besides, once: two losses, the largest gradient, the data time and a signal of each process.
    assert calls == [2 * 5]


class TestParametersWithoutGradients:
    """Of a layer whose output no loss takes, as features that the head does not take have them."""

    @pytest.fixture
    def trainer(self, tmp_path):
        def build(**settings):
            model = Line()
            model.unused = nn.Linear(1, 1, bias=False)
            return build_trainer([1, 2], model=DistributedDataParallel(model, **settings))

        dist.init_process_group("gloo", init_method=f"file://{tmp_path}/f", world_size=1, rank=0)
        yield build
        dist.destroy_process_group()

    def test_are_named_with_the_key_before_other_processes_wait_for_them(self, trainer):
        words = r"depends on unused\.weight: .*train\.ddp\.find_unused_parameters"
        with pytest.raises(ValueError, match=words):
            trainer().train(0, 1)

    def test_are_allowed_by_that_key(self, trainer):
        trainer = trainer(find_unused_parameters=True)
        trainer.train(0, 2)
        assert trainer.model.module.linear.weight.item() == pytest.approx(1.1)
