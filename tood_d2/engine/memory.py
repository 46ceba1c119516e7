"""Training that needs more memory than there is."""

import contextlib
from collections.abc import Iterator

import torch

from ..config.options import keys_of

_SIGNS = "can't allocate memory", "not enough memory"  # of the CPU's allocator
_SMALLER = "batch_size", "amp_enabled", "gradient_accumulation"


@contextlib.contextmanager
def explained_lack_of_memory(batch: list[dict], iteration: int) -> Iterator[None]:
    """Says what a batch was like that did not fit, and what to do.

    Raises:
        MemoryError: if memory is lacking inside.
    """
    try:
        yield
    except RuntimeError as error:  # CUDA's is one
        is_lack = isinstance(error, torch.OutOfMemoryError)
        if not is_lack and not any(x in str(error) for x in _SIGNS):
            raise
        sizes = "x".join(str(max(x["image"].shape[i] for x in batch)) for i in (-2, -1))
        objects = max((len(x["instances"]) for x in batch if "instances" in x), default=0)
        keys = {name: keys_of(name) for name in _SMALLER}
        raise MemoryError(
            f"out of memory in iteration {iteration}, with {len(batch)} images of up to {sizes} "
            f"pixels and up to {objects} objects: lower {keys['batch_size']} (with "
            f"{keys['gradient_accumulation']} the step stays the same) or the size of the images, "
            f"or set {keys['amp_enabled']}, or model.head.checkpoint or "
            "MODEL.TOOD.CHECKPOINT_HEAD, to True"
        ) from error
