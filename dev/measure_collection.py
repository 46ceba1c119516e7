#!/usr/bin/env python
"""Measures what tools/predict.py costs beside the detector, in collections of any size.

measure_collection.py --images 1000000 --shards 1000

Prints for a list of so many paths the time to read it and to fingerprint it, the memory that the
list takes and the bytes that go to actors of Ray; then, for so many shards of 256 made-up rows, the
time to look for what is missing and to read them for the errors, and with --ray the time that Ray
Data needs to hand out a shard to one of two actors which do nothing.
"""

import argparse
import pickle
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow
from tabulate import tabulate

from tood_d2.batch_prediction.detections import SCHEMA
from tood_d2.batch_prediction.job import Job, ResultFolder
from tood_d2.batch_prediction.sources import find_items
from tood_d2.cli.messages import short_errors

SHARD_SIZE = 256


class Measurements:
    """Rows of a table: a name, a number and its unit."""

    def __init__(self):
        self.rows: list[tuple[str, float, str]] = []

    @contextmanager
    def seconds(self, name: str, per: int, unit: str) -> Iterator[None]:
        """Times what is done inside, and divides by a number."""
        start = time.perf_counter()
        yield
        self.rows.append((name, (time.perf_counter() - start) / per * 1e6, f"µs per {unit}"))


def measure_list(folder: Path, num_images: int, found: Measurements) -> None:
    path = folder / "list.txt"
    with open(path, "w") as file:
        for i in range(num_images):
            file.write(f"s3://bucket/images/{i // 1000:06}/{i:010}.jpg\n")
    before = _peak_memory()
    with found.seconds("reading a list", num_images, "image"):
        items = find_items([str(path)])
    found.rows.append(("memory", (_peak_memory() - before) / num_images, "bytes per image"))
    with found.seconds("fingerprint", num_images, "image"):
        Job.of(items, SHARD_SIZE, {})
    size = len(pickle.dumps(items[:SHARD_SIZE])) / min(num_images, SHARD_SIZE)
    found.rows.append(("to actors", size, "bytes per image"))


def measure_shards(folder: Path, num_shards: int, found: Measurements) -> None:
    job = Job(num_shards * SHARD_SIZE, SHARD_SIZE, "", {})
    result = ResultFolder(str(folder / "result"))
    result.prepare(job)
    row = dict.fromkeys(SCHEMA.names) | {"file_name": "0000000000.jpg", "scores": [0.5] * 10}
    table = pyarrow.Table.from_pylist([row] * SHARD_SIZE, SCHEMA)
    for shard in range(num_shards):
        result.write(job, shard, table)
    with found.seconds("missing shards", num_shards, "shard"):
        result.prepare(job)
    with found.seconds("errors", num_shards, "shard"):
        result.num_errors()


class NoDetector:
    """An actor that detects nothing."""

    def __call__(self, batch: dict) -> dict:
        return {"images": batch["shard"]}


def measure_ray(num_shards: int, found: Measurements) -> None:
    import ray
    from ray.data import ActorPoolStrategy

    ray.init("local", num_cpus=2, log_to_driver=False, include_dashboard=False)
    rows = [{"shard": x, "items": bytes(60 * SHARD_SIZE)} for x in range(num_shards)]
    with found.seconds("Ray: rows", num_shards, "shard"):
        data = ray.data.from_items(rows, override_num_blocks=num_shards)
    pool = ActorPoolStrategy(min_size=2, max_size=2)
    done = iter(data.map_batches(NoDetector, batch_size=1, compute=pool).iter_rows())
    next(done)  # the actors have started
    with found.seconds("Ray: handing out", num_shards, "shard"):
        sum(1 for _ in done)
    ray.shutdown()


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100_000, help="in the list (100000)")
    parser.add_argument("--shards", type=int, default=200, help="of the result (200)")
    parser.add_argument("--ray", action="store_true", help="measure Ray Data as well")
    args = parser.parse_args()
    if args.images < 1 or args.shards < 2:
        parser.error("at least 1 image and 2 shards")
    found = Measurements()
    with short_errors(parser.prog), tempfile.TemporaryDirectory() as folder:
        measure_list(Path(folder), args.images, found)
        measure_shards(Path(folder), args.shards, found)
        if args.ray:
            measure_ray(args.shards, found)
    print(tabulate(found.rows, floatfmt=".1f"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
