"""Learning rates: linear warm-up, in the official ones of 500 iterations, and two steps."""

from fvcore.common.param_scheduler import MultiStepParamScheduler

from detectron2.config import LazyCall as L
from detectron2.solver import WarmupParamScheduler

# Iterations of 16 images in an epoch of COCO train2017 (117266 images with objects).
EPOCH = 7330


def multi_step(epochs, steps, warmup_iters=500):
    return L(WarmupParamScheduler)(
        scheduler=L(MultiStepParamScheduler)(
            values=[1.0, 0.1, 0.01],
            milestones=[step * EPOCH for step in steps],
            num_updates=epochs * EPOCH,
        ),
        warmup_factor=0.001,
        warmup_length=warmup_iters / (epochs * EPOCH),
        warmup_method="linear",
    )


lr_multiplier_1x = multi_step(12, (8, 11))
lr_multiplier_2x = multi_step(24, (16, 22))
