"""Two processes give the gradients of one process with the joint batch."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from detectron2.engine.launch import _find_free_port
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

IMAGE_SIZE = (64, 96)
# Boxes of four images; those of the second process have none.
BOXES = [[[8.0, 6.0, 50.0, 44.0], [30.0, 20.0, 90.0, 60.0]], [[10.0, 10.0, 26.0, 30.0]], [], []]


def batch():
    generator = torch.Generator().manual_seed(0)
    inputs = []
    for boxes in BOXES:
        instances = Instances(IMAGE_SIZE)
        instances.gt_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
        instances.gt_classes = torch.arange(len(boxes))
        image = torch.randint(0, 256, (3, *IMAGE_SIZE), generator=generator, dtype=torch.uint8)
        inputs.append({"image": image, "instances": instances})
    return inputs


def backward(model, inputs, iteration):
    with EventStorage(iteration):
        losses = model(inputs)
    sum(losses.values()).backward()
    return [p.grad for p in model.parameters()]


def worker(rank, model, iteration, port, file):
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, world_size=2, rank=rank)
    half = batch()[2 * rank : 2 * rank + 2]
    gradients = backward(DistributedDataParallel(model), half, iteration)
    if rank == 0:
        torch.save(gradients, file)
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("iteration", [0, 1], ids=["initial phase", "task alignment learning"])
def test_gradients(tiny_tood, tmp_path, iteration):
    model, file = tiny_tood(), tmp_path / "gradients.pth"
    mp.spawn(worker, (model, iteration, _find_free_port(), file), nprocs=2)
    expected = backward(model, batch(), iteration)
    assert any(g.abs().max() > 0 for g in expected)
    for ours, joint in zip(torch.load(file), expected, strict=True):
        assert torch.allclose(ours, joint, rtol=1e-5, atol=1e-6)
