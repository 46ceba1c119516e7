"""Random numbers that depend on given integers alone."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def seeded(*integers: int) -> Iterator[None]:
    """Inside, Python's, NumPy's and PyTorch's CPU generator start from a hash of the integers.

    Afterwards they go on as if nothing had been drawn.

    Args:
        integers: not negative.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    words = np.random.SeedSequence(integers).generate_state(3)
    try:
        random.seed(int(words[0]))
        np.random.seed(words[1])
        torch.default_generator.manual_seed(int(words[2]))  # torch.manual_seed is the GPU's, too
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
