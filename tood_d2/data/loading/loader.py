"""Batches to train on, in an order that a run can be resumed in."""

import itertools
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from detectron2.config import configurable
from detectron2.data import build_detection_test_loader
from detectron2.data.build import _train_loader_from_config
from detectron2.data.common import DatasetFromList
from detectron2.data.samplers import (
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from detectron2.utils import comm

from ...cli.shared_memory import end_workers_without_memory
from .mapper import DatasetMapper
from .mixing import CopyPaste, Mosaic
from .samples import NamedErrors, Sample, SeededSamples

_SECONDS_AFTER_SIGTERM = 60
_DETECTRON2_SAMPLERS = (
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)

logger = logging.getLogger(__name__)


class TrainLoader:
    """Endless batches of one process.

    The n-th batch depends only on the data, the settings and the random state in which the loader
    was made, and not on the number of workers. Iterating goes on where it was left, or raises
    OSError once more images than allowed cannot be read.

    Attributes:
        num_batches: taken so far, to be set for going on from there.
    """

    def __init__(
        self, dataset: SeededSamples, batches: Callable[[], Iterator[list[tuple]]], **kwargs
    ):
        """Takes a function that starts the lists of pairs anew, and ``DataLoader``'s arguments."""
        self.dataset, self.batches, self.kwargs = dataset, batches, kwargs
        self.num_batches = 0
        self.unreadable: dict[str, str] = {}

    def __iter__(self) -> Iterator[list]:
        loader = DataLoader(
            self.dataset,
            batch_sampler=itertools.islice(self.batches(), self.num_batches, None),
            collate_fn=list,
            worker_init_fn=_set_up_worker,
            generator=torch.Generator(),  # else a number of the global one would be drawn
            **self.kwargs,
        )
        for batch in loader:
            for sample in batch:
                self._count_unreadable(sample)
            self.num_batches += 1
            yield [sample.content for sample in batch]

    def _count_unreadable(self, sample: Sample) -> None:
        for path, problem in sample.unreadable.items():
            if path not in self.unreadable:
                self.unreadable[path] = problem
                logger.warning(
                    f"{path} cannot be read ({problem}): another image takes its place. "
                    f"Unreadable so far: {len(self.unreadable)}"
                )
        if len(self.unreadable) > self.dataset.max_unreadable:
            first = [f"{path} ({text})" for path, text in self.unreadable.items()][:5]
            raise OSError(
                f"{len(self.unreadable)} images cannot be read, with "
                f"{self.dataset.max_unreadable} allowed by dataloader.train.max_unreadable or "
                f"DATALOADER.MAX_UNREADABLE (YAML): {', '.join(first)}"
            )


def _group(
    sampler: Sampler, batch_size: int, groups: Sequence[int]
) -> Iterator[list[tuple[int, int]]]:
    """Lists of positions and indices whose images are of one group.

    As Detectron2's ``AspectRatioGroupedDataset`` does, but before images are read.
    """
    waiting: dict[int, list[tuple[int, int]]] = {}
    for position, index in enumerate(sampler):
        batch = waiting.setdefault(groups[index], [])
        batch.append((position, index))
        if len(batch) == batch_size:
            yield waiting.pop(groups[index])


def _share(*args) -> Iterator[list[tuple[int, int]]]:
    """The part of this process of the batches that :func:`_group` gives for all."""
    rank, num_processes = comm.get_rank(), comm.get_world_size()
    for batch in _group(*args):
        size = len(batch) // num_processes
        yield batch[rank * size : (rank + 1) * size]


def _set_up_worker(worker: int) -> None:
    """Leaves signals to the main process, as the batches of workers are still needed then.

    Terminals and schedulers send them to workers, too. Once the main process is dead, they end.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    end_workers_without_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # By default an alarm ends the process.
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_SECONDS_AFTER_SIGTERM))


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _from_config(cfg, **kwargs) -> dict:
    kwargs = {"mapper": DatasetMapper(cfg, is_train=True)} | kwargs
    arguments = _train_loader_from_config(cfg, **kwargs)
    mixing = {
        "num_iters": cfg.SOLVER.MAX_ITER,
        "batches_per_iter": cfg.SOLVER.GRADIENT_ACCUMULATION,
    }
    node, close = cfg.DATALOADER, cfg.DATALOADER.MOSAIC.CLOSE
    return {
        "max_unreadable": node.MAX_UNREADABLE,
        "copy_paste": CopyPaste(node.COPY_PASTE.PROB, close, **mixing),
        "mosaic": Mosaic(node.MOSAIC.PROB, close, **mixing),
        **arguments,
    }


@configurable(from_config=_from_config)
def build_train_loader(
    dataset: list[dict],
    *,
    mapper: Callable[[dict], Any],
    total_batch_size: int,
    sampler: Sampler | None = None,
    repeat_threshold: float = 0.0,
    aspect_ratio_grouping: bool = True,
    num_workers: int = 0,
    max_unreadable: int = 10,
    copy_paste: CopyPaste | None = None,
    mosaic: Mosaic | None = None,
    **kwargs,
) -> TrainLoader:
    """Detectron2's loader, for runs that are interrupted and data that get damaged.

    With a sampler of Detectron2's, processes share the batches that one process would have, so that
    their number changes neither the order of images nor how each is augmented.

    Arguments are ``build_detection_train_loader``'s, but for these.

    Args:
        sampler: of indices, without end; by default each image comes once an epoch.
        repeat_threshold: without a sampler, fraction of the images below which a class is rare; 0
            for none. An image with a class in a fraction f of them comes sqrt(threshold / f) times
            as often (arXiv 1908.03195, Appendix B.2).
        max_unreadable: images that turn out to be unreadable before training ends; until then
            others replace them.
        copy_paste: puts objects of other images into samples, None for never.
        mosaic: makes samples of four images, None for never.

    Raises:
        ValueError: if the processes cannot share the batch.
    """
    num_processes = comm.get_world_size()
    if total_batch_size < 1 or total_batch_size % num_processes:
        raise ValueError(
            f"{num_processes} processes cannot share {total_batch_size} images: "
            "dataloader.train.total_batch_size or SOLVER.IMS_PER_BATCH (YAML) should be a "
            "multiple of them"
        )
    if sampler is None and repeat_threshold > 0:
        repeats = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency
        sampler = RepeatFactorTrainingSampler(repeats(dataset, repeat_threshold))
    sampler = sampler or TrainingSampler(len(dataset))
    groups = [int(aspect_ratio_grouping and x["width"] > x["height"]) for x in dataset]
    batch_size, seed = total_batch_size // num_processes, comm.shared_random_seed()
    if type(sampler) in _DETECTRON2_SAMPLERS:  # subclasses may find their share in another way
        sampler._rank, sampler._world_size = 0, 1
        batches = partial(_share, sampler, total_batch_size, groups)
    else:  # it gives the indices of this process, whose number then belongs to the seed
        seed = seed * num_processes + comm.get_rank()
        batches = partial(_group, sampler, batch_size, groups)
        total_batch_size = batch_size
    mixings = [
        (x, x.num_batches * total_batch_size) for x in [copy_paste, mosaic] if x and x.prob > 0
    ]
    records = DatasetFromList(dataset, copy=False)
    samples = SeededSamples(records, mapper, seed, max_unreadable, mixings)
    return TrainLoader(samples, batches, num_workers=num_workers, **kwargs)


def build_test_loader(dataset: list[dict], *, mapper: Callable[[dict], Any], **kwargs):
    """Detectron2's ``build_detection_test_loader``, whose errors name the image."""
    return build_detection_test_loader(dataset, mapper=NamedErrors(mapper), **kwargs)
