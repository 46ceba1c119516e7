"""Two processes give the gradients of one process with the joint batch."""

import copy

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from detectron2.structures import Boxes, Instances

PHASES = {"initial phase": 0, "task alignment learning": 1}  # and an iteration of each
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
    losses = model(inputs, iteration)
    sum(losses.values()).backward()
    return [p.grad for p in model.parameters()]


def worker(rank, model, folder):
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, world_size=2, rank=rank)
    half = batch()[2 * rank : 2 * rank + 2]
    gradients = {}
    for phase, iteration in PHASES.items():
        replica = DistributedDataParallel(copy.deepcopy(model))
        gradients[phase] = backward(replica, half, iteration)
    if rank == 0:
        torch.save(gradients, folder / "gradients.pth")
    dist.barrier()
    dist.destroy_process_group()


def test_gradients_are_those_of_the_joint_batch(tiny_tood, tmp_path):
    model = tiny_tood()
    mp.spawn(worker, (model, tmp_path), nprocs=2)
    gradients = torch.load(tmp_path / "gradients.pth")
    for phase, iteration in PHASES.items():
        expected = backward(copy.deepcopy(model), batch(), iteration)
        assert any(g.abs().max() > 0 for g in expected), phase
        for ours, joint in zip(gradients[phase], expected, strict=True):
            torch.testing.assert_close(ours, joint, rtol=1e-5, atol=1e-6)
