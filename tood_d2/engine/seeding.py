"""Seeds of runs, so that they can be repeated and resumed."""

from dataclasses import dataclass

import numpy as np

from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

from ..checkpoint.recovery import LastCheckpoint
from ..config.run import Run


def with_seed(run: Run, last: LastCheckpoint | None) -> Run:
    """Gives a run without a seed that of the run that is resumed, else a random one.

    Args:
        run: the same in all processes.
        last: the checkpoint that is resumed, if there is one.
    """
    if run.options.seed >= 0:
        return run
    seed = last.content.get("seed") if last else None
    if not isinstance(seed, int) or seed < 0:
        seed = int(np.random.SeedSequence().generate_state(1)[0]) // 2
        seed = comm.all_gather(seed)[0]
    return run.with_options(seed=seed)


@dataclass(eq=False)
class SeedSteps(HookBase):
    """Makes the random numbers of a step depend on seed, process and iteration alone."""

    seed: int

    def before_step(self):
        integers = [self.seed, comm.get_rank(), self.trainer.iter]
        seed_all_rng(int(np.random.SeedSequence(integers).generate_state(1)[0]))
