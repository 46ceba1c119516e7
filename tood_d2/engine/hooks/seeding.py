"""Random numbers of a run that can be repeated and resumed."""

import numpy as np
from omegaconf import DictConfig

from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

from ...checkpoint.recovery import LastCheckpoint
from ...config.options import TrainingOptions


def fix_seed(cfg: CfgNode | DictConfig, last: LastCheckpoint | None) -> None:
    """Gives a config without a seed that of the run that is resumed, else a random one.

    Args:
        cfg: to be changed, in all processes.
        last: the checkpoint that is resumed, if there is one.
    """
    options = TrainingOptions.from_config(cfg)
    if options.seed >= 0:
        return
    seed = last.content.get("seed") if last else None
    if not isinstance(seed, int) or seed < 0:
        seed = int(np.random.SeedSequence().generate_state(1)[0]) // 2
        seed = comm.all_gather(seed)[0]
    if isinstance(cfg, CfgNode):
        cfg.SEED = seed
    else:
        cfg.train.seed = seed


class SeedSteps(HookBase):
    """Makes the random numbers of a step depend on seed, process and iteration alone."""

    def __init__(self, seed: int):
        self.seed = seed

    def before_step(self):
        integers = [self.seed, comm.get_rank(), self.trainer.iter]
        seed_all_rng(int(np.random.SeedSequence(integers).generate_state(1)[0]))
