"""Samples of training, each with random numbers of its own."""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from detectron2.data.detection_utils import SizeMismatchError, check_image_size

from ..images import read_image, reason_of
from .mixing import Mixing

_MAX_REFUSALS = 100


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


class Sample(NamedTuple):
    """What the mapper made of an image, or of the one that replaces it."""

    content: Any  # None if no image could be read
    unreadable: dict[str, str]  # why, by the file, images were replaced


@dataclass(eq=False)
class SeededSamples(Dataset):
    """Maps records to samples, which depend only on the records, the seed and the position.

    So they are the same in whichever process they are made, whatever was made before. An image
    that cannot be read is replaced by another.
    """

    records: Sequence[dict]  # Detectron2's dataset dicts
    mapper: Callable[[dict], Any]  # as Detectron2's; it refuses a record by returning None
    seed: int  # of augmentations
    max_unreadable: int  # replacements of a sample
    mixings: Sequence[tuple[Mixing, float]] = ()  # each with the position of its end

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, sample: tuple[int, int]) -> Sample:
        """Makes the sample of a position in the order of training and an index of a record.

        Raises:
            ValueError: if the mapper fails on an image that can be read, or refuses one after the
                other.
        """
        position, index = sample
        unreadable: dict[str, str] = {}
        with seeded(self.seed, position):
            content = self._map(index, unreadable)
            for mixing, end in self.mixings:
                if content is None or position >= end or np.random.rand() >= mixing.prob:
                    continue
                others = [
                    self._map(i, unreadable)
                    for i in np.random.randint(len(self.records), size=mixing.num_others)
                ]
                content = None if any(x is None for x in others) else mixing([content, *others])
        return Sample(content, unreadable)

    def _map(self, index: int, unreadable: dict[str, str]) -> Any:
        """The mapper's sample of a record or of one that replaces it; None if none can be read."""
        for _ in range(_MAX_REFUSALS):
            try:
                content = NamedErrors(self.mapper)(self.records[index])
            except ValueError:
                problem = image_problem(self.records[index])
                if problem is None:
                    raise  # the mapper fails on this image
                content, unreadable[self.records[index]["file_name"]] = None, problem
            if content is not None or len(unreadable) > self.max_unreadable:
                return content
            index = np.random.randint(len(self.records))
        raise ValueError(f"the mapper made no sample of {_MAX_REFUSALS} images in a row")


@dataclass
class NamedErrors:
    """A mapper whose errors name the image."""

    mapper: Callable[[dict], Any]

    def __call__(self, record: dict) -> Any:
        try:
            return self.mapper(record)
        except Exception as error:
            problem = image_problem(record) or f"the mapper fails on this image: {error}"
            raise ValueError(f"{record.get('file_name')}: {problem}") from error


def image_problem(record: dict) -> str | None:
    """Says why the image of a record cannot be read; None if it can be, or there is none."""
    if "file_name" not in record:
        return None
    try:
        check_image_size(dict(record), read_image(record["file_name"]))
    except SizeMismatchError as error:
        return " ".join(str(error).split())
    except (OSError, ValueError) as error:
        return reason_of(error, record["file_name"])
    return None
