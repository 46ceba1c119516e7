"""Detection by actors of Ray Data (``pip install tood_d2[ray]``), on one machine or many."""

import argparse
import contextlib
import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import ray
import torch
from ray.data import ActorPoolStrategy, DataContext

from .detections import detect_items
from .items import Item
from .job import Job, ResultFolder


class ShardDetector:
    """An actor: detects in the images of one shard after the other, and writes them."""

    def __init__(
        self,
        build_predictor: Callable[[argparse.Namespace], object],
        args: argparse.Namespace,
        job: Job,
        folder: str,
    ):
        """
        Args:
            build_predictor: makes a predictor of the arguments.
            args: of the command line.
            job: see :class:`Job`.
            folder: the one in which the program was started.
        """
        # Where paths mean the same, if this machine has the folder.
        with contextlib.suppress(FileNotFoundError):
            os.chdir(folder)
        torch.set_num_threads(max(1, int(args.cpus_per_worker)))
        self.predictor, self.args, self.job = build_predictor(args), args, job
        self.folder = ResultFolder(args.output)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Takes shards, see :func:`_shard`; gives numbers of their images."""
        done = []
        for shard, pickled in zip(batch["shard"].tolist(), batch["items"], strict=True):
            items = pickle.loads(pickled)
            table = detect_items(
                self.predictor,
                items,
                batch_size=self.args.batch_size,
                score_thresh=self.args.confidence_threshold,
            )
            self.folder.write(self.job, shard, table)
            done.append(len(items))
        return {"images": np.array(done)}


def _shard(items: Sequence[Item], job: Job, shard: int) -> dict[str, object]:
    """A row with all that an actor has to know of a shard, as the whole list may be large."""
    positions = job.positions(shard)
    return {"shard": shard, "items": pickle.dumps(items[positions.start : positions.stop])}


def detect_on_ray(
    build_predictor: Callable[[argparse.Namespace], object],
    args: argparse.Namespace,
    items: Sequence[Item],
    job: Job,
    shards: Sequence[int],
) -> Iterator[int]:
    """Detects in shards on a cluster, whose machines all have to see ``args.output``.

    The shards of an actor or a machine that dies are detected by others. See
    :class:`ShardDetector` for the arguments.

    Args:
        items: all images of the job.
        shards: which to detect in.

    Returns:
        The number of images of each shard that is done.

    Raises:
        ConnectionError: if no cluster is at this address, or it asks for a token.
    """
    try:
        ray.init(args.ray, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise ConnectionError(
            f"--ray {args.ray}: {error} (is it there? one with a token takes only who has "
            "RAY_AUTH_MODE=token and its RAY_AUTH_TOKEN in the environment)"
        ) from error
    DataContext.get_current().enable_progress_bars = False  # the program has its own
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        limit = args.workers or max(1, int(ray.cluster_resources()["CPU"] / args.cpus_per_worker))
        limit = min(limit, len(shards))
        rows = ray.data.from_items(
            [_shard(items, job, x) for x in shards], override_num_blocks=len(shards)
        )
        done = rows.map_batches(
            ShardDetector,
            fn_constructor_args=(build_predictor, args, job, os.getcwd()),
            batch_size=1,
            compute=ActorPoolStrategy(min_size=1, max_size=limit),
            num_cpus=args.cpus_per_worker,
            num_gpus=args.gpus_per_worker,
        )
        for row in done.iter_rows():
            yield row["images"]
    finally:
        ray.shutdown()
