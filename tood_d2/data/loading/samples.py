"""Samples of training, each with random numbers of its own."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Dataset

from detectron2.data.detection_utils import SizeMismatchError, check_image_size, read_image

from .random_state import seeded

_MAX_REFUSALS = 100


class Sample(NamedTuple):
    """What the mapper made of an image, or of the one that replaces it."""

    content: Any
    """None if no image could be read."""
    unreadable: dict[str, str]
    """Why, by the file, images were replaced."""


class SeededSamples(Dataset):
    """Maps records to samples, which depend only on the records, the seed and the position.

    So they are the same in whichever process they are made, whatever was made before. An image
    that cannot be read is replaced by another.
    """

    def __init__(
        self,
        records: Sequence[dict],
        mapper: Callable[[dict], Any],
        seed: int,
        max_unreadable: int,
    ):
        """
        Args:
            records: Detectron2's dataset dicts.
            mapper: see ``build_detection_train_loader``; it refuses a record by returning None.
            seed: of augmentations.
            max_unreadable: replacements of a sample.
        """
        self.records = records
        self.mapper = mapper
        self.seed = seed
        self.max_unreadable = max_unreadable

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, sample: tuple[int, int]) -> Sample:
        """
        Args:
            sample: position in the order of training and index of the record.

        Raises:
            ValueError: if the mapper fails on an image that can be read, or refuses one after the
                other.
        """
        position, index = sample
        unreadable: dict[str, str] = {}
        with seeded(self.seed, position):
            for _ in range(_MAX_REFUSALS):
                record = self.records[index]
                try:
                    content = self.mapper(record)
                except Exception as error:
                    path, problem = record.get("file_name"), image_problem(record)
                    if problem is None:
                        raise ValueError(
                            f"{path}: the mapper fails on this image: {error}"
                        ) from error
                    unreadable[path] = problem
                    content = None
                    if len(unreadable) > self.max_unreadable:
                        return Sample(None, unreadable)
                if content is not None:
                    return Sample(content, unreadable)
                index = np.random.randint(len(self.records))
        raise ValueError(f"the mapper made no sample of {_MAX_REFUSALS} images in a row")


class NamedErrors:
    """A mapper whose errors name the image."""

    def __init__(self, mapper: Callable[[dict], Any]):
        self.mapper = mapper

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
        check_image_size(dict(record), read_image(record["file_name"], format="BGR"))
    except SizeMismatchError as error:
        return " ".join(str(error).split())
    except Exception as error:  # Pillow raises errors of many kinds
        return f"{type(error).__name__}: {error}"
    return None
